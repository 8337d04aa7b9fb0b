//! Reading recordings.

use super::*;

#[test]
fn the_shipped_recordings_hold_what_their_table_says() {
    let counts = |name| {
        let Totals { local, post, sync, .. } = Recording::shipped(name).unwrap().totals();
        (local + post + sync, post, sync)
    };
    assert_eq!(counts("llama-1b-eager-decode"), (389_309, 31_235, 801));
    assert_eq!(counts("mlp-train"), (7_601, 526, 65));
    assert_eq!(counts("mlp-cuda-graph"), (5_188, 374, 93));
    assert_eq!(counts("llama-1b-weight-load"), (603, 201, 402));
    assert_eq!(Recording::shipped("mlp-train").unwrap().threads(), [0, 1]);
}

#[test]
fn the_weight_load_moves_2_2_gb() {
    let totals = Recording::shipped("llama-1b-weight-load").unwrap().totals();
    assert_eq!(totals.h2d_bytes / 100_000_000, 22);
}

#[test]
fn an_unknown_shipped_name_is_answered_with_the_known_ones() {
    let text = Recording::shipped("llama").unwrap_err().to_string();
    assert!(text.contains("`llama`") && text.contains("llama-1b-eager-decode"), "{text}");
}

#[test]
fn a_row_is_read_field_by_field() {
    let recording = parse_rows("7,3,cudaMemcpyAsync,post,48,4096,h2d\n").unwrap();
    let row = recording.rows()[0];
    assert_eq!((row.gap_ns, row.thread, row.inline_bytes, row.bulk_bytes), (7, 3, 48, 4096));
    assert_eq!((row.class, row.direction), (Class::Post, Direction::HostToDevice));
    assert_eq!(recording.call_name(&row), "cudaMemcpyAsync");
    assert_eq!(recording.threads(), [3]);
}

#[test]
fn columns_may_come_in_another_order() {
    let text =
        "dir,bulk_bytes,inline_bytes,class,call,thread,gap_ns\nd2h,9,48,sync,cudaMemcpy,2,5\n";
    let expected = parse_rows("5,2,cudaMemcpy,sync,48,9,d2h\n").unwrap();
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn the_last_line_may_lack_its_end() {
    let with_end = parse_rows("0,0,a,post,8,0,-\n").unwrap();
    assert_eq!(parse_rows("0,0,a,post,8,0,-").unwrap(), with_end);
}

#[test]
fn names_are_held_once() {
    let recording = parse_rows("0,0,a,post,8,0,-\n0,0,b,post,8,0,-\n0,0,a,post,8,0,-\n").unwrap();
    assert_eq!(recording.calls().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_compressed_recording_is_recognised_by_its_first_bytes() {
    let text = format!("{HEADER}0,0,a,post,8,0,-\n");
    let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let read = Recording::from_reader(&packed[..], &RecordingLimits::default()).unwrap();
    assert_eq!(read, parse(&text).unwrap());
}

#[test]
fn a_reader_that_gives_one_byte_at_a_time_is_enough() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let n = 1.min(self.0.len()).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }
    let text = format!("{HEADER}0,0,a,post,8,0,-\n");
    let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let limits = RecordingLimits::default();
    assert!(Recording::from_reader(Trickle(text.as_bytes()), &limits).is_ok());
    assert!(Recording::from_reader(Trickle(&packed), &limits).is_ok());
}

#[test]
fn an_error_in_a_file_names_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{HEADER}0,0,a,post,8,x,-").unwrap();
    let error = Recording::open(file.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&file.path().display().to_string()), "{text}");
    assert!(text.contains("line 2, column 6 (bulk_bytes), byte 14: found `x`"), "{text}");
    assert!(matches!(error.without_file(), RecordingError::Value { .. }));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Recording::open("no/such/recording.csv").unwrap_err();
    assert!(matches!(&error, RecordingError::Open { .. }));
    assert!(error.to_string().contains("no/such/recording.csv"));
}
