//! What a program sees that calls before `cuInit`.

mod common;

use ringbar_vocabulary::Status;

#[test]
fn before_the_driver_is_started_every_function_says_so() {
    let expected = Status::NOT_INITIALIZED.0;
    assert_eq!(common::functions_that_do_not_answer(expected), []);
}
