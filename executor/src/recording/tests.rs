//! What the reader, the writer, the plan and the payloads promise together.

use super::*;
use std::collections::HashSet;
use std::io::Write;

const HEADER: &str = "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir\n";

fn parse(text: &str) -> Result<Recording, RecordingError> {
    Recording::from_reader(text.as_bytes(), &RecordingLimits::default())
}

fn parse_rows(rows: &str) -> Result<Recording, RecordingError> {
    parse(&format!("{HEADER}{rows}"))
}

fn plan_of(rows: &str) -> Plan {
    Plan::new(&parse_rows(rows).unwrap(), &PlanLimits::default())
}

fn steps_of(rows: &str) -> Vec<Step> {
    plan_of(rows).steps().iter().map(|step| step.step).collect()
}

/// Line, column, name and byte of the one value that is wrong in `rows`, and what was expected.
fn fault_of(rows: &str) -> (u64, usize, &'static str, usize, Fault) {
    match parse_rows(rows) {
        Err(RecordingError::Value { at, fault, .. }) => {
            (at.line, at.column, at.name, at.byte, fault)
        }
        other => panic!("expected a fault in a value, found {other:?}"),
    }
}

/// A small generator of random cases, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

mod reading {
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
        let recording =
            parse_rows("0,0,a,post,8,0,-\n0,0,b,post,8,0,-\n0,0,a,post,8,0,-\n").unwrap();
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
}

mod refusing {
    use super::*;

    #[test]
    fn every_malformed_value_is_found_where_it_is() {
        let good = "0,0,a,post,8,0,-\n";
        let thread_limit = Fault::AboveLimit { limit: 255 };
        let name = Fault::NotACallName { limit_bytes: 256 };
        let cases: &[(&str, usize, &str, usize, Fault)] = &[
            ("x,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            (",0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            ("-1,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            ("+1,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            (" 1,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            ("1.5,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            ("1e3,0,a,post,8,0,-", 1, "gap_ns", 1, Fault::NotANumber),
            ("10,256,a,post,8,0,-", 2, "thread", 4, thread_limit.clone()),
            ("10,99999999999999999999999,a,post,8,0,-", 2, "thread", 4, thread_limit),
            ("10,0,,post,8,0,-", 3, "call", 6, name.clone()),
            ("10,0,\"a\",post,8,0,-", 3, "call", 6, name.clone()),
            ("10,0,a b,post,8,0,-", 3, "call", 6, name.clone()),
            ("10,0,caf\u{e9},post,8,0,-", 3, "call", 6, name),
            ("10,0,a,Post,8,0,-", 4, "class", 8, Fault::UnknownClass),
            ("10,0,a,,8,0,-", 4, "class", 8, Fault::UnknownClass),
            (
                "10,0,a,post,16777217,0,-",
                5,
                "inline_bytes",
                13,
                Fault::AboveLimit { limit: 1 << 24 },
            ),
            ("10,0,a,post,8,0x10,h2d", 6, "bulk_bytes", 15, Fault::NotANumber),
            (
                "10,0,a,post,8,274877906945,h2d",
                6,
                "bulk_bytes",
                15,
                Fault::AboveLimit { limit: 1 << 38 },
            ),
            ("10,0,a,post,8,5,-", 6, "bulk_bytes", 15, Fault::BulkWithoutDirection),
            ("10,0,a,local,8,5,h2d", 6, "bulk_bytes", 16, Fault::BulkOnLocalCall),
            ("10,0,a,post,8,5,h2h", 7, "dir", 17, Fault::UnknownDirection),
            ("10,0,a,post,8,0,-\r", 7, "dir", 17, Fault::UnknownDirection),
            ("10,0,a,post,8,0,", 7, "dir", 17, Fault::UnknownDirection),
        ];
        for (row, column, name, byte, fault) in cases {
            let found = fault_of(&format!("{good}{row}\n{good}"));
            assert_eq!(found, (3, *column, *name, *byte, fault.clone()), "{row:?}");
        }
    }

    #[test]
    fn the_column_counts_as_it_stands_in_the_file() {
        let text = "dir,bulk_bytes,inline_bytes,class,call,thread,gap_ns\n-,0,8,post,a,0,x\n";
        let Err(RecordingError::Value { at, .. }) = parse(text) else { panic!("accepted") };
        assert_eq!((at.column, at.name, at.byte), (7, "gap_ns", 16));
    }

    #[test]
    fn a_line_with_too_few_or_too_many_fields_is_refused() {
        for (row, fields) in [("0,0,a,post,8,0", 6), ("0,0,a,post,8,0,-,", 8), ("", 1)] {
            let error = parse_rows(&format!("{row}\n")).unwrap_err();
            match error {
                RecordingError::FieldCount { line: 2, found, expected: 7, .. } => {
                    assert_eq!(found, fields, "{row:?}");
                }
                other => panic!("{row:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn a_header_without_a_column_is_refused_by_its_name() {
        let text = "gap_ns,thread,call,class,inline_bytes,bulk_bytes\n0,0,a,post,8,0\n";
        match parse(text) {
            Err(RecordingError::MissingColumns { missing, .. }) => assert_eq!(missing, ["dir"]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_without_header_says_that_all_columns_are_missing() {
        match parse("0,0,a,post,8,0,-\n") {
            Err(RecordingError::MissingColumns { missing, .. }) => assert_eq!(missing.len(), 7),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_with_an_unknown_or_repeated_column_is_refused() {
        for (header, column, byte, expected) in [
            (
                "gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir,extra",
                8,
                54,
                Fault::UnknownColumn,
            ),
            (
                "gap_ns,gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir",
                2,
                8,
                Fault::RepeatedColumn,
            ),
            ("gap_ns, thread,call,class,inline_bytes,bulk_bytes,dir", 2, 8, Fault::UnknownColumn),
        ] {
            match parse(&format!("{header}\n")) {
                Err(RecordingError::Value { at, fault, .. }) => {
                    assert_eq!((at.line, at.column, at.byte, fault), (1, column, byte, expected));
                }
                other => panic!("{header} gave {other:?}"),
            }
        }
    }

    #[test]
    fn nothing_and_a_lone_header_are_different_errors() {
        assert!(matches!(parse(""), Err(RecordingError::Empty)));
        assert!(matches!(parse(HEADER), Err(RecordingError::NoRows)));
    }

    #[test]
    fn other_formats_are_named() {
        for (bytes, name) in [(&[0x1f, 0x8b, 8, 0][..], "gzip"), (b"PK\x03\x04", "zip")] {
            match Recording::from_reader(bytes, &RecordingLimits::default()) {
                Err(RecordingError::OtherFormat { found }) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_truncated_compressed_file_is_an_error() {
        let text = format!("{HEADER}{}", "0,0,a,post,8,0,-\n".repeat(1000));
        let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
        for len in 5..packed.len() {
            let read = Recording::from_reader(&packed[..len], &RecordingLimits::default());
            assert!(
                matches!(read, Err(RecordingError::Read { .. })),
                "{len} bytes of it: {read:?}"
            );
        }
    }

    #[test]
    fn every_limit_is_an_error_of_its_own_and_fits_exactly() {
        let row = "0,0,a,post,8,0,-\n";
        let text = format!("{HEADER}{row}{row}");
        let default = RecordingLimits::default();
        let read = |limits: RecordingLimits| Recording::from_reader(text.as_bytes(), &limits);
        assert!(read(RecordingLimits { rows_max: 2, ..default }).is_ok());
        let rows = read(RecordingLimits { rows_max: 1, ..default });
        assert!(matches!(rows, Err(RecordingError::TooManyRows { line: 3, limit: 1 })));
        let line_bytes_max = HEADER.len() - 1;
        assert!(read(RecordingLimits { line_bytes_max, ..default }).is_ok());
        let line = read(RecordingLimits { line_bytes_max: line_bytes_max - 1, ..default });
        assert!(matches!(line, Err(RecordingError::LineTooLong { line: 1, .. })));
        let text_bytes_max = text.len() as u64;
        assert!(read(RecordingLimits { text_bytes_max, ..default }).is_ok());
        let all = read(RecordingLimits { text_bytes_max: text_bytes_max - 1, ..default });
        assert!(matches!(all, Err(RecordingError::TooMuchText { line: 3, .. })));
    }

    #[test]
    fn a_decompression_bomb_ends_at_the_line_limit() {
        let zeros = std::io::repeat(b'0').take(1 << 30);
        let packed = zstd::encode_all(zeros, 1).unwrap();
        let read = Recording::from_reader(&packed[..], &RecordingLimits::default());
        assert!(matches!(read, Err(RecordingError::LineTooLong { line: 1, .. })));
    }

    #[test]
    fn too_many_names_are_an_error() {
        let rows: String = (0..65_537).map(|i| format!("0,0,f{i},post,8,0,-\n")).collect();
        let error = parse_rows(&rows).unwrap_err();
        assert!(matches!(error, RecordingError::TooManyCalls { line: 65_538, limit: 65_536 }));
    }

    #[test]
    fn random_damage_never_panics_and_is_mostly_refused() {
        let mut random = Random(0x5eed);
        let good: String = HEADER.to_owned()
            + "0,0,cudaMalloc,sync,24,0,-\n5,1,cudaMemcpyAsync,post,48,4096,h2d\n"
            + "7,255,__cudaLaunchKernel,post,96,0,-\n9,0,cudaGetDevice,local,0,0,-\n";
        let packed = zstd::encode_all(good.as_bytes(), 3).unwrap();
        let mut refused = 0;
        for round in 0..20_000 {
            let mut bytes = if round % 4 == 0 { packed.clone() } else { good.clone().into_bytes() };
            for _ in 0..=random.below(4) {
                damage(&mut bytes, &mut random);
            }
            match Recording::from_reader(&bytes[..], &RecordingLimits::default()) {
                Ok(recording) => drop(Plan::new(&recording, &PlanLimits::default())),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().len() < 2_000, "{error}");
                }
            }
        }
        assert!(refused > 10_000, "only {refused} of 20,000 damaged recordings were refused");
    }

    fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
        const PIECES: [&[u8]; 12] = [
            b",",
            b"\n",
            b"-",
            b"\0",
            b"\"",
            b"9999999999",
            b"18446744073709551616",
            b"h2d",
            b"\xff\xfe",
            b"local",
            b"\r\n",
            b"",
        ];
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(6)).min(bytes.len());
        match random.below(4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            _ => drop(bytes.splice(at..end, random.pick(&PIECES).iter().copied())),
        }
    }
}

mod writing {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for name in Recording::shipped_names() {
            let recording = Recording::shipped(name).unwrap();
            let mut writer = RecordingWriter::new(Vec::new()).unwrap();
            for row in recording.rows() {
                writer.push(recording.call_name(row), row).unwrap();
            }
            assert_eq!(writer.rows(), recording.rows().len() as u64);
            let written = writer.finish().unwrap();
            let read = Recording::from_reader(&written[..], &RecordingLimits::default()).unwrap();
            assert_eq!(read, recording, "{name}");
        }
    }

    #[test]
    fn a_file_can_be_created_and_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.csv.zst");
        let recording = parse_rows("3,1,a,post,8,0,-\n").unwrap();
        let mut writer = RecordingWriter::create(&path).unwrap();
        writer.push("a", &recording.rows()[0]).unwrap();
        writer.finish().unwrap();
        assert_eq!(Recording::open(&path).unwrap(), recording);
    }

    #[test]
    fn a_row_that_could_not_be_read_is_not_written() {
        let good = parse_rows("3,1,a,post,8,0,-\n").unwrap().rows()[0];
        let mut writer = RecordingWriter::new(Vec::new()).unwrap();
        let bulk = Row { bulk_bytes: 1, ..good };
        let gap = Row { gap_ns: u64::MAX, ..good };
        for (call, row, column) in [
            ("a,b", good, "call"),
            ("", good, "call"),
            ("a", bulk, "bulk_bytes"),
            ("a", gap, "gap_ns"),
        ] {
            match writer.push(call, &row) {
                Err(RecordingError::Unwritable { name, .. }) => assert_eq!(name, column),
                other => panic!("{call:?} gave {other:?}"),
            }
        }
        writer.push("a", &good).unwrap();
        let written = writer.finish().unwrap();
        let read = Recording::from_reader(&written[..], &RecordingLimits::default()).unwrap();
        assert_eq!(read.rows().len(), 1);
    }
}

mod planning {
    use super::*;

    #[test]
    fn local_calls_are_counted_and_nothing_else() {
        let plan =
            plan_of("1,0,a,local,0,0,-\n2,0,b,local,0,0,-\n3,0,c,post,8,0,-\n4,0,a,local,0,0,-\n");
        assert_eq!((plan.steps().len(), plan.local_calls()), (1, 3));
        let step = plan.steps()[0];
        assert_eq!((step.locals_before, step.due_ns, step.row), (2, 6, 2));
        assert_eq!(plan.duration_ns(), 10);
    }

    #[test]
    fn unknown_calls_fall_back_by_class_with_their_name_and_bytes() {
        let call = call_hash("cublasNeverSeen");
        assert_eq!(
            steps_of("0,0,cublasNeverSeen,post,70,0,-\n0,0,cublasNeverSeen,sync,24,0,-\n"),
            [
                Step::LibraryCall { call, inline_bytes: 70 },
                Step::LibraryQuery { call, inline_bytes: 24 }
            ]
        );
    }

    #[test]
    fn a_launch_carries_the_bytes_beyond_its_head() {
        let call = call_hash("cuLaunchKernel");
        let rows = "0,0,cuLaunchKernel,post,56,0,-\n0,0,cuLaunchKernel,post,10,0,-\n\
                    0,0,cuLaunchKernel,post,32812,0,-\n0,0,cuLaunchKernel,post,32813,0,-\n";
        assert_eq!(
            steps_of(rows),
            [
                Step::Launch { param_bytes: 8 },
                Step::Launch { param_bytes: 0 },
                Step::Launch { param_bytes: 32_764 },
                Step::LibraryCall { call, inline_bytes: 32_813 }
            ]
        );
    }

    #[test]
    fn an_allocation_is_as_large_as_the_next_copy_to_it() {
        let plan = plan_of(
            "0,0,cudaMalloc,sync,24,0,-\n0,1,cudaMemcpy,post,48,77777,h2d\n\
             0,0,cudaMemcpy,post,48,5000,h2d\n0,0,cudaMemcpy,post,48,9000,h2d\n\
             0,0,cudaMalloc,sync,24,0,-\n0,0,cudaMalloc,sync,24,0,-\n0,0,cudaMemcpy,post,48,600,h2d\n",
        );
        let made = plan.buffers().iter().filter(|buffer| buffer.origin == Origin::Call);
        assert_eq!(made.map(|buffer| buffer.bytes).collect::<Vec<_>>(), [5000, 1 << 20, 600]);
        let to: Vec<_> = plan.steps().iter().filter_map(|step| copied_to(step.step)).collect();
        // Thread 1 has no allocation, and 9,000 bytes do not fit thread 0's: both land in a buffer of setup.
        assert_eq!(to, [BufferId(2), BufferId(4), BufferId(0), BufferId(6)]);
    }

    fn copied_to(step: Step) -> Option<BufferId> {
        match step {
            Step::CopyH2D { to, .. } => Some(to.buffer),
            _ => None,
        }
    }

    #[test]
    fn a_query_that_is_posted_is_only_a_library_call() {
        let call = call_hash("cudaEventQuery");
        assert_eq!(
            steps_of("0,0,cudaEventQuery,post,24,0,-\n"),
            [Step::LibraryCall { call, inline_bytes: 24 }]
        );
    }

    #[test]
    fn events_are_the_newest_living_else_the_threads_own() {
        let rows = "0,4,cudaEventRecord,post,32,0,-\n0,9,cudaEventCreate,post,32,0,-\n\
                    0,9,cudaEventRecord,post,32,0,-\n0,9,cudaEventDestroy,post,32,0,-\n\
                    0,9,cudaEventQuery,sync,24,0,-\n";
        assert_eq!(
            steps_of(rows),
            [
                Step::EventRecord { event: EventId(0) },
                Step::EventCreate { event: EventId(2) },
                Step::EventRecord { event: EventId(2) },
                Step::EventDestroy { event: EventId(2) },
                Step::EventQuery { event: EventId(1) },
            ]
        );
    }

    #[test]
    fn freeing_nothing_is_only_a_library_call() {
        let call = call_hash("cudaFree");
        assert_eq!(
            steps_of("0,0,cudaFree,post,32,0,-\n"),
            [Step::LibraryCall { call, inline_bytes: 32 }]
        );
    }

    #[test]
    fn a_copy_recorded_without_bytes_between_device_buffers_still_does_work() {
        let steps = steps_of("0,0,cudaMemcpyAsync,post,48,0,d2d\n");
        let [Step::CopyD2D { bytes: 4096, from, to }] = steps[..] else { panic!("{steps:?}") };
        assert_ne!(from.buffer, to.buffer);
    }

    #[test]
    fn a_copy_above_the_piece_size_becomes_pieces_that_add_up() {
        let bytes = (1_u64 << 33) + 12_345;
        let plan = plan_of(&format!("0,0,cudaMemcpy,sync,48,{bytes},h2d\n"));
        let moved: u64 = plan.steps().iter().map(|step| step.step.h2d_bytes() as u64).sum();
        assert_eq!(moved, bytes);
        assert_eq!(plan.steps().len(), 33);
        assert!(plan.device_bytes_peak() <= 1 << 30);
    }

    #[test]
    fn the_plan_of_the_weight_load_fills_an_allocation_a_tensor() {
        let recording = Recording::shipped("llama-1b-weight-load").unwrap();
        let plan = Plan::new(&recording, &PlanLimits::default());
        let filled: HashSet<_> = plan.steps().iter().filter_map(|s| copied_to(s.step)).collect();
        assert_eq!(filled.len(), 201);
        assert_eq!(plan.teardown().buffers.len(), 201);
        assert!(plan.device_bytes_peak() < 2_300_000_000);
    }

    #[test]
    fn whatever_is_recorded_every_step_finds_its_objects_alive_and_its_places_in_range() {
        let mut random = Random(0xa11);
        for _ in 0..200 {
            let recording = random_recording(&mut random);
            let limits = PlanLimits {
                device_bytes_max: 1 << random.below(34),
                scratch_bytes_max: 1 << random.below(32),
                piece_bytes_max: 1 << random.below(30),
                host_bytes_max: 1 << random.below(24),
                objects_max: random.below(20),
            };
            Machine::run(&Plan::new(&recording, &limits));
        }
    }

    fn random_recording(random: &mut Random) -> Recording {
        let names: Vec<_> = known_calls().map(|(name, _)| name).chain(["x", "cublasY"]).collect();
        let rows: String = (0..=random.below(300))
            .map(|_| {
                let class = *random.pick(&["post", "sync", "sync", "local"]);
                let dir = *random.pick(&["-", "-", "-", "h2d", "d2h", "d2d"]);
                let bulk = if dir == "-" || class == "local" { 0 } else { random.below(1 << 24) };
                let thread = random.below(4) * 85;
                let inline = random.below(40_000);
                format!("1,{thread},{},{class},{inline},{bulk},{dir}\n", random.pick(&names))
            })
            .collect();
        parse_rows(&rows).unwrap()
    }

    /// Runs a plan on nothing, checking that nothing is used before it is made or after it is gone.
    #[derive(Default)]
    struct Machine {
        buffers: HashSet<BufferId>,
        streams: HashSet<StreamId>,
        events: HashSet<EventId>,
        blocks: HashSet<HostBlockId>,
    }

    impl Machine {
        fn run(plan: &Plan) {
            let mut machine = Machine::default();
            let setup = |id: &u32| plan.buffers()[*id as usize].origin == Origin::Setup;
            machine.buffers =
                (0..plan.buffers().len() as u32).filter(setup).map(BufferId).collect();
            machine.events = (0..plan.thread_count() as u32).map(EventId).collect();
            for step in plan.steps() {
                machine.step(plan, step);
                let device = machine.buffers.iter().map(|id| plan.buffers()[id.0 as usize].bytes);
                assert!(device.sum::<u64>() <= plan.device_bytes_peak());
            }
            let down = plan.teardown();
            assert!(down.buffers.iter().all(|id| machine.buffers.remove(id)));
            assert!(down.streams.iter().all(|id| machine.streams.remove(id)));
            assert!(down.events.iter().all(|id| machine.events.remove(id)));
            assert!(down.host_blocks.iter().all(|id| machine.blocks.remove(id)));
            assert_eq!(machine.buffers.len(), 2 * plan.thread_count());
            assert_eq!(machine.events.len(), plan.thread_count());
            assert!(machine.streams.is_empty() && machine.blocks.is_empty());
        }

        fn step(&mut self, plan: &Plan, planned: &PlannedStep) {
            let in_range = |place: Place, bytes: u32| {
                let buffer = plan.buffers()[place.buffer.0 as usize];
                assert!(self.buffers.contains(&place.buffer), "{planned:?}");
                assert_eq!(buffer.thread, planned.thread);
                assert!(place.offset + u64::from(bytes) <= buffer.bytes, "{planned:?}");
            };
            match planned.step {
                Step::CopyH2D { bytes, to: at }
                | Step::CopyD2H { bytes, from: at }
                | Step::Memset { bytes, at, .. } => in_range(at, bytes),
                Step::CopyD2D { bytes, from, to } => {
                    in_range(from, bytes);
                    in_range(to, bytes);
                    assert_ne!(from.buffer, to.buffer);
                }
                Step::Alloc { buffer } => assert!(self.buffers.insert(buffer)),
                Step::Free { buffer } => assert!(self.buffers.remove(&buffer)),
                Step::HostAlloc { block } => assert!(self.blocks.insert(block)),
                Step::HostFree { block } => assert!(self.blocks.remove(&block)),
                Step::StreamCreate { stream } => assert!(self.streams.insert(stream)),
                Step::StreamDestroy { stream } => assert!(self.streams.remove(&stream)),
                Step::EventCreate { event } => assert!(self.events.insert(event)),
                Step::EventDestroy { event } => assert!(self.events.remove(&event)),
                Step::StreamWaitEvent { event }
                | Step::EventRecord { event }
                | Step::EventQuery { event }
                | Step::EventSynchronize { event } => assert!(self.events.contains(&event)),
                _ => {}
            }
        }
    }
}

mod payloads {
    use super::*;

    fn shipped_plan(name: &str) -> Plan {
        Plan::new(&Recording::shipped(name).unwrap(), &PlanLimits::default())
    }

    fn digest(plan: &Plan, payloads: &Payloads) -> u64 {
        let mut digest = Digest::new();
        for step in plan.steps() {
            digest.push_command(0, payloads.inline(step), payloads.bulk(step));
        }
        digest.value()
    }

    #[test]
    fn every_step_gets_as_many_bytes_as_it_carries() {
        for name in ["llama-1b-eager-decode", "mlp-train", "mlp-cuda-graph"] {
            let plan = shipped_plan(name);
            let payloads = Payloads::new(1, &plan);
            for step in plan.steps() {
                assert_eq!(payloads.inline(step).len(), step.step.inline_bytes());
                assert_eq!(payloads.bulk(step).len(), step.step.h2d_bytes());
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        let plan = shipped_plan("mlp-train");
        let of = |seed| digest(&plan, &Payloads::new(seed, &plan));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn every_row_has_bytes_of_its_own() {
        let plan = shipped_plan("llama-1b-eager-decode");
        let payloads = Payloads::new(1, &plan);
        let launches = || plan.steps().iter().filter(|step| step.step.inline_bytes() >= 16);
        let distinct: HashSet<_> = launches().map(|step| &payloads.inline(step)[..16]).collect();
        assert_eq!(distinct.len(), launches().count());
    }

    #[test]
    fn bulk_payloads_of_equal_size_differ() {
        let rows = "0,0,cudaMemcpy,post,48,65536,h2d\n".repeat(500);
        let plan = plan_of(&rows);
        let payloads = Payloads::new(1, &plan);
        let distinct: HashSet<_> = plan.steps().iter().map(|s| payloads.bulk(s)).collect();
        assert_eq!(distinct.len(), 500);
    }

    #[test]
    fn pieces_of_one_copy_differ_and_the_buffer_stays_below_its_limit() {
        let recording = parse_rows("0,0,cudaMemcpy,post,48,200000000,h2d\n").unwrap();
        let limits = PlanLimits { piece_bytes_max: 1 << 20, ..PlanLimits::default() };
        let plan = Plan::new(&recording, &limits);
        let payloads = Payloads::new(1, &plan);
        let distinct: HashSet<_> = plan.steps().iter().map(|s| &payloads.bulk(s)[..64]).collect();
        assert_eq!(distinct.len(), plan.steps().len());
        assert!(payloads.generated_bytes() < 201_000_000);
    }

    #[test]
    fn a_step_of_another_plan_gets_nothing_rather_than_a_panic() {
        let small = plan_of("0,0,a,post,8,0,-\n");
        let large = plan_of("0,0,a,post,100000,0,-\n0,0,cudaMemcpy,post,48,9000000,h2d\n");
        let payloads = Payloads::new(1, &small);
        assert!(payloads.inline(&large.steps()[0]).is_empty());
        assert!(payloads.bulk(&large.steps()[1]).is_empty());
    }
}

mod digesting {
    use super::*;

    fn of(commands: &[(u64, &[u8], &[u8])]) -> u64 {
        let mut digest = Digest::new();
        commands
            .iter()
            .for_each(|(opcode, inline, bulk)| digest.push_command(*opcode, inline, bulk));
        digest.value()
    }

    #[test]
    fn order_opcode_and_every_byte_count() {
        let base = of(&[(1, b"ab", b"cd"), (2, b"", b"")]);
        assert_eq!(base, of(&[(1, b"ab", b"cd"), (2, b"", b"")]));
        for other in [
            of(&[(2, b"", b""), (1, b"ab", b"cd")]),
            of(&[(3, b"ab", b"cd"), (2, b"", b"")]),
            of(&[(1, b"aX", b"cd"), (2, b"", b"")]),
            of(&[(1, b"ab", b"cX"), (2, b"", b"")]),
            of(&[(1, b"abc", b"d"), (2, b"", b"")]),
            of(&[(1, b"ab", b"cd")]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn memory_counts_too() {
        let mut one = Digest::new();
        one.push_memory(b"ab");
        one.push_memory(b"");
        let mut other = Digest::new();
        other.push_memory(b"");
        other.push_memory(b"ab");
        assert_ne!(one.value(), other.value());
    }
}
