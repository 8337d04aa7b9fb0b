//! Recordings that are refused, with line and column.

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
        ("10,0,a,post,16777217,0,-", 5, "inline_bytes", 13, Fault::AboveLimit { limit: 1 << 24 }),
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
        ("gap_ns,thread,call,class,inline_bytes,bulk_bytes,dir,extra", 8, 54, Fault::UnknownColumn),
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
        assert!(matches!(read, Err(RecordingError::Read { .. })), "{len} bytes of it: {read:?}");
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
