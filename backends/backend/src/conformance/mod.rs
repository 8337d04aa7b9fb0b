//! The suite that every backend passes: each command, its errors, order, faults.
//!
//! A backend instantiates it with [`crate::conformance!`], which makes one test a check:
//!
//! ```ignore
//! ringbar_backend::conformance!(|| Subject { backend: Box::new(MyGpu::new()), image });
//! ```
//!
//! The subject's module image has the kernels `fill_u32(dst, value: u32, count: u64)`,
//! `axpy_f32(x, y, a: f32, count: u64)` (y += a x) and `copy(dst, src, bytes: u64)`, each for a
//! launch of one block of one thread, with the parameters in that order wherever the layout puts
//! them; and the variable `word`, four bytes that begin as 1, 2, 3, 4.

mod arrays;
mod boxes;
mod captures;
mod contexts;
mod errors;
mod functions;
mod graph_memory;
mod graphs;
mod ipc;
mod kernels;
mod memory;
mod pools;
mod refusals;
mod rig;
mod streams;
mod textures;
mod waits;

use crate::Backend;
pub use rig::{Kernel, Rig, Uses};
use ringbar_vocabulary::{Class, ROWS, Row};

/// A backend to check, fresh and not yet initialised.
pub struct Subject {
    /// The backend.
    pub backend: Box<dyn Backend>,
    /// A module image with the kernels that the suite launches and its variable, such as [`IMAGE`].
    pub image: Vec<u8>,
}

/// One promise that every backend keeps.
pub struct Check {
    /// The promise, as the name of a test.
    pub name: &'static str,
    /// Panics if it is broken.
    pub run: fn(&mut Rig),
}

/// Runs the check of that name on a fresh subject; says which rows it used.
///
/// # Panics
/// If the promise is broken, or no check has that name.
pub fn run(name: &str, mut make: impl FnMut() -> Subject) -> Uses {
    let check = CHECKS.iter().find(|check| check.name == name).expect("a check of that name");
    let mut rig = Rig::new(make());
    (check.run)(&mut rig);
    rig.uses
}

/// A module with the suite's kernels and variable, for devices that take PTX.
pub const IMAGE: &[u8] = include_bytes!("kernels.ptx");

/// Rows that nothing can be wrong about once there is a device.
const NEVER_REFUSED: [&str; 4] = ["Ping", "MemoryDigest", "Stats", "FailureStatus"];

/// Runs every check, and says which rows of the vocabulary no check has done successfully, and which no check has seen
/// refused. Arbitrary commands do not count. For a backend that implements every row but those named.
///
/// # Panics
/// If a promise is broken.
pub fn gaps(unsupported: &[&str], mut make: impl FnMut() -> Subject) -> Vec<String> {
    let mut uses = Uses::default();
    for check in CHECKS {
        uses.add(&run(check.name, &mut make));
    }
    let crossing = ROWS.iter().filter(|row| row.class != Class::Local);
    let said = |row: &Row, what: &str| format!("{} is {what} in no check", row.name);
    let gaps = crossing.flat_map(|row| {
        let may_be_done = !unsupported.contains(&row.name);
        let done = (may_be_done && !uses.was_done(row)).then(|| said(row, "done"));
        let may_fail = !NEVER_REFUSED.contains(&row.name);
        let refused = (may_fail && !uses.was_refused(row)).then(|| said(row, "refused"));
        [done, refused].into_iter().flatten()
    });
    gaps.collect()
}

// A check that is not in this list is dead code, which the lints refuse.
macro_rules! checks {
    ($dollar:tt $($module:ident::$name:ident)+) => {
        /// Every check.
        pub const CHECKS: &[Check] =
            &[$(Check { name: stringify!($name), run: $module::$name }),+];

        /// Instantiates the suite: one test a check. Takes a closure that makes a
        /// [`Subject`](crate::conformance::Subject).
        #[macro_export]
        macro_rules! conformance {
            ($dollar make:expr) => {$(
                #[test]
                fn $name() {
                    $dollar crate::conformance::run(stringify!($name), $dollar make);
                }
            )+};
        }
    };
}

checks! { $
    memory::bytes_copied_inline_come_back
    memory::bytes_copied_from_the_arena_come_back
    memory::a_copy_between_device_buffers_copies_exactly_its_bytes
    memory::memset_fills_bytes_halves_and_words
    memory::an_empty_copy_or_fill_is_no_error
    memory::allocations_are_aligned_and_apart
    memory::an_empty_allocation_is_an_invalid_value
    memory::an_allocation_beyond_the_device_is_out_of_memory
    memory::freed_memory_can_be_allocated_again
    memory::free_memory_goes_down_and_up_again
    memory::freeing_what_is_not_an_allocation_is_an_invalid_value
    memory::copies_outside_an_allocation_are_refused
    memory::a_misaligned_fill_is_refused
    memory::the_digest_follows_the_contents
    memory::arena_bytes_are_held_no_longer_than_the_copy
    memory::pinned_blocks_are_freed_exactly_as_allocated
    streams::commands_of_a_stream_happen_in_order
    streams::an_event_orders_two_streams
    streams::waiting_for_an_event_that_was_never_recorded_does_not_block
    streams::a_second_record_replaces_the_first
    streams::the_default_stream_waits_for_other_streams_and_they_for_it
    streams::a_destroyed_stream_finishes_its_work
    streams::a_destroyed_event_still_orders_who_waits_for_it
    streams::fences_of_a_stream_are_written_in_order
    streams::unknown_streams_and_events_are_invalid_handles
    streams::a_number_in_use_is_an_invalid_handle
    streams::the_default_stream_cannot_be_created_or_destroyed
    streams::handles_are_looked_up_by_number_and_type
    kernels::a_kernel_reads_its_parameters_through_its_layout
    kernels::parameters_may_travel_in_the_arena
    kernels::an_unknown_kernel_is_not_found_by_name
    kernels::an_image_that_was_sent_is_loaded_again_by_its_hash
    kernels::an_image_is_compiled_with_options_that_are_numbers
    kernels::a_link_of_one_image_is_loaded_and_of_nonsense_is_refused
    kernels::an_image_that_is_none_is_refused
    kernels::a_parameter_block_of_the_wrong_length_is_refused
    kernels::an_empty_launch_is_refused
    kernels::functions_of_an_unloaded_module_are_invalid_handles
    kernels::unloading_a_module_lets_its_launches_finish
    kernels::a_kernel_that_touches_foreign_memory_makes_the_device_unusable
    kernels::no_fence_is_written_after_a_kernel_failed
    errors::a_ping_answers_with_its_token
    errors::everything_before_init_is_not_initialized
    errors::init_refuses_flags
    errors::facts_describe_the_device
    errors::facts_are_not_written_into_too_small_a_block
    errors::facts_of_no_device_are_refused
    errors::the_first_failure_is_latched_with_its_position
    errors::failures_are_told_by_their_numbers
    errors::malformed_bytes_are_a_violation
    errors::a_block_outside_the_arena_is_a_violation
    errors::a_fence_that_does_not_exist_is_a_violation
    errors::arbitrary_commands_never_panic
    errors::commands_are_counted
    errors::giant_tails_are_refused_without_giant_buffers
    boxes::boxes_go_up_across_and_down_by_their_pitches
    boxes::a_fill_of_rows_leaves_the_gaps
    boxes::a_box_outside_an_allocation_is_refused
    boxes::pitched_rows_begin_aligned_and_apart
    boxes::a_pinned_block_is_device_memory
    contexts::a_created_context_has_streams_and_memory_of_its_own
    contexts::a_context_that_does_not_exist_is_refused
    contexts::resetting_a_primary_context_ends_what_it_had_and_it_lives_on
    contexts::limits_are_read_and_set
    contexts::flags_of_a_live_context_are_set
    contexts::the_cache_of_a_context_is_reset_and_textures_have_a_width
    contexts::what_devices_can_do_with_each_other_is_told
    contexts::a_context_reaches_another_devices_memory_once_it_may
    functions::a_function_prefers_a_cache_and_runs_as_before
    functions::clusters_are_counted_and_measured
    functions::a_librarys_call_is_done_in_stream_order_or_refused_by_name
    functions::a_library_answers_a_question_alike_each_time_or_refuses_it_by_name
    functions::a_modules_kernels_are_listed_by_name
    functions::a_variable_that_a_module_does_not_have_is_not_found
    functions::attributes_of_a_function_are_read_and_set
    functions::occupancy_follows_the_block
    functions::a_launch_with_attributes_runs_the_kernel
    pools::memory_is_allocated_and_freed_in_stream_order
    pools::a_pool_counts_what_is_used_and_keeps_what_it_may
    pools::a_devices_pool_can_be_changed_and_its_own_access_not
    pools::mapped_memory_is_used_like_any_other
    pools::physical_memory_keeps_its_bytes_from_mapping_to_mapping
    pools::sizes_that_are_no_whole_units_are_refused
    waits::a_stream_writes_values_in_order
    waits::a_stream_waits_for_a_value_without_holding_up_others
    waits::a_stream_that_is_stuck_holds_up_nobody_else
    waits::a_host_function_stalls_its_stream_until_the_client_ran_it
    waits::host_functions_run_one_at_a_time
    waits::the_host_function_of_a_node_is_asked_and_changed
    waits::a_host_function_without_a_mailbox_is_refused
    waits::a_record_writes_its_fence_when_it_is_complete
    waits::time_passes_between_events
    waits::attributes_of_a_stream_are_read_set_and_copied
    graphs::captured_work_runs_at_each_launch_and_not_before
    graphs::a_capture_spreads_over_streams_by_events
    graphs::a_capture_whose_streams_were_not_joined_fails
    graphs::the_state_of_a_capture_can_be_asked
    graphs::a_graph_is_built_node_by_node
    graphs::an_executable_graph_is_changed_node_by_node_and_as_a_whole
    graphs::a_graph_inside_a_graph_is_one_node_and_a_copy_is_apart
    graphs::edges_are_added_and_removed_and_circles_refused
    graphs::a_graph_is_described_in_dot
    graphs::a_broken_capture_stays_broken_until_its_end
    graphs::what_a_node_fills_and_copies_can_be_asked
    graphs::a_copys_nodes_are_found_by_the_originals
    graphs::the_event_of_a_node_is_asked_and_changed
    graphs::a_graph_inside_a_node_is_given_out_and_changed
    graphs::a_disabled_node_is_passed_over
    graphs::attributes_of_a_kernel_node_are_read_set_and_copied
    graphs::what_a_kernel_node_launches_is_asked_and_changed
    graphs::what_a_copy_node_copies_is_changed
    graphs::the_next_captured_node_comes_after_what_the_client_says
    functions::a_tensor_map_is_encoded_whole_or_not_at_all
    functions::a_variable_is_found_by_name_and_has_its_value
    refusals::a_device_or_context_that_does_not_exist_is_refused
    refusals::a_stream_or_event_that_does_not_exist_is_refused
    refusals::a_module_or_function_that_does_not_exist_is_refused
    refusals::a_pool_or_memory_that_does_not_exist_is_refused
    refusals::a_block_of_the_arena_is_pinned_and_a_mailbox_set_up_once
    refusals::a_graph_that_does_not_exist_is_refused
    refusals::a_node_that_does_not_exist_is_refused
    refusals::an_executable_graph_that_does_not_exist_is_refused
    graph_memory::a_graph_allocates_memory_and_ends_it
    graph_memory::captured_memory_is_there_until_it_is_freed
    graph_memory::memory_of_graphs_is_refused_where_it_cannot_be
    graph_memory::the_most_memory_of_graphs_is_counted_and_set_back
    captures::a_graph_that_exists_is_captured_into
    captures::a_capture_into_a_graph_keeps_to_that_graph
    arrays::boxes_go_into_arrays_across_and_out_again
    arrays::an_array_of_one_dimension_is_one_row
    arrays::arrays_that_cannot_be_are_refused
    arrays::a_box_that_is_not_in_its_array_is_refused
    arrays::an_array_ends_once_and_with_its_context
    arrays::a_captured_copy_of_an_array_runs_with_its_graph
    textures::textures_of_arrays_and_memory_have_values_of_their_own
    textures::textures_that_cannot_be_are_refused
    textures::a_surface_is_of_an_array_and_ends_once
    ipc::a_client_in_a_virtual_machine_gives_out_and_opens_nothing
    ipc::an_allocation_has_a_handle_that_its_own_process_cannot_open
    ipc::what_is_no_allocation_has_no_handle
    ipc::events_of_two_processes_are_there_where_the_device_says_so
}
