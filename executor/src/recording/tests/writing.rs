//! Writing recordings.

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
    for (call, row, column) in
        [("a,b", good, "call"), ("", good, "call"), ("a", bulk, "bulk_bytes"), ("a", gap, "gap_ns")]
    {
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
