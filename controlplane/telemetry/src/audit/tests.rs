use std::io;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use super::*;

/// What a test sees of an output, and what it does to it.
#[derive(Default)]
struct Disk {
    /// All files so far; the last one is open.
    files: Vec<Vec<u8>>,
    /// Bytes that it still takes; beyond it, there is no room.
    room: Option<usize>,
    synced: usize,
    /// Nothing reaches it.
    unsyncable: bool,
}

#[derive(Clone)]
struct Output(Arc<Mutex<Disk>>);

impl AuditOutput for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        let room = disk.room.unwrap_or(usize::MAX);
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = bytes.len().min(room);
        disk.room = disk.room.map(|room| room - n);
        disk.files.last_mut().unwrap().extend(&bytes[..n]);
        Ok(n)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.unsyncable {
            return Err(io::ErrorKind::Other.into());
        }
        disk.synced = disk.files.iter().map(Vec::len).sum();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<bool> {
        self.0.lock().unwrap().files.push(Vec::new());
        Ok(true)
    }
}

fn output() -> (Output, Arc<Mutex<Disk>>) {
    let disk = Arc::new(Mutex::new(Disk {
        files: vec![Vec::new()],
        ..Disk::default()
    }));
    (Output(Arc::clone(&disk)), disk)
}

fn event(object: &str) -> AuditEvent {
    AuditEvent {
        kind: AuditKind::DekUnwrap,
        outcome: "ok",
        key: "main".into(),
        key_version: "3".into(),
        wrapped_kek: b"wrapped".to_vec(),
        request: Some(AuditRequest {
            id: "0123456789ABCDEF".into(),
            access_key: "AKIA".into(),
            operation: "GetObject",
            bucket: "b".into(),
            object: object.into(),
        }),
        answer: None,
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|l| l["event"].as_str().unwrap()).collect()
}

/// Numbers follow each other, a line about losses counting for what was lost; returns how many were.
fn check_numbers(lines: &[Value]) -> u64 {
    let (mut next, mut lost) = (1, 0);
    for line in lines {
        assert_eq!(line["seq"], next, "{line}");
        let count = line["count"].as_u64();
        lost += count.unwrap_or(0);
        next += count.unwrap_or(1);
    }
    lost
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

#[test]
fn each_event_is_a_line_with_its_fields() {
    let (out, disk) = output();
    let (log, writer) = audit_log(Overflow::Drop, out);
    log.record(|| event("a\nb\"c")).unwrap();
    log.record(|| AuditEvent {
        kind: AuditKind::KekUnwrap,
        outcome: "denied",
        request: None,
        answer: Some(AuditAnswer {
            source: "aws-kms",
            endpoint: "eu-west-1".into(),
            duration: Duration::from_millis(2),
        }),
        ..event("")
    })
    .unwrap();
    let counts = log.clone();
    drop(log);
    let thread = thread::spawn(move || writer.run());
    wait_until("written", || counts.counts().written == 2);
    drop(counts);
    assert_eq!(thread.join().unwrap(), 0);
    let disk = disk.lock().unwrap();
    let lines = lines(&disk.files[0]);
    assert_eq!(events(&lines), ["start", "dek_unwrap", "kek_unwrap", "end"]);
    assert_eq!(check_numbers(&lines), 0);
    assert_eq!(
        disk.synced,
        disk.files[0].len(),
        "all on disk when it is over"
    );
    let run = lines[0]["run"].as_str().unwrap();
    assert!(
        run.len() == 8
            && lines
                .iter()
                .all(|l| l["run"] == run && l["level"] == "audit")
    );
    for (name, value) in [
        ("outcome", "ok"),
        ("key", "main"),
        ("key_version", "3"),
        ("request_id", "0123456789ABCDEF"),
        ("access_key", "AKIA"),
        ("operation", "GetObject"),
        ("bucket", "b"),
        ("object", "a\nb\"c"),
        // printf wrapped | sha256sum | head -c 16
        ("kek", KEK),
    ] {
        assert_eq!(lines[1][name], value, "{name}");
    }
    assert!(lines[1].get("source").is_none());
    for (name, value) in [
        ("outcome", "denied"),
        ("source", "aws-kms"),
        ("endpoint", "eu-west-1"),
    ] {
        assert_eq!(lines[2][name], value, "{name}");
    }
    assert_eq!(lines[2]["duration_us"], 2000);
    assert!(lines[2].get("request_id").is_none() && lines[2].get("object").is_none());
}

const KEK: &str = "adbf45b08ad6468a";

#[test]
fn a_full_queue_is_told_of_by_count_and_number() {
    let (out, disk) = output();
    let (log, writer) = with_queue(10, Overflow::Drop, out);
    for n in 0..17 {
        log.record(|| event(&n.to_string())).unwrap();
    }
    assert_eq!(log.counts().lost, 7);
    let thread = thread::spawn(move || writer.run());
    wait_until("written", || log.counts().written == 10);
    log.record(|| event("later")).unwrap();
    drop(log);
    assert_eq!(thread.join().unwrap(), 7);
    let lines = lines(&disk.lock().unwrap().files[0]);
    assert_eq!(check_numbers(&lines), 7);
    let all = events(&lines);
    assert_eq!(all.iter().filter(|e| **e == "dek_unwrap").count(), 11);
    assert_eq!(all.iter().filter(|e| **e == "lost").count(), 1);
    assert_eq!(
        all[11..],
        ["lost", "dek_unwrap", "end"],
        "as soon as it can"
    );
}

#[test]
fn a_log_that_must_have_everything_refuses() {
    let (out, _disk) = output();
    let (log, _writer) = with_queue(2, Overflow::Fail, out);
    assert_eq!(log.record(|| event("1")), Ok(()));
    assert_eq!(log.record(|| event("2")), Ok(()));
    assert_eq!(log.record(|| event("3")), Err(AuditFull));
    assert_eq!(log.counts().lost, 1);
}

#[test]
fn a_log_that_is_off_makes_no_events() {
    let log = AuditLog::off();
    assert_eq!(log.record(|| unreachable!()), Ok(()));
    assert_eq!(log.counts(), AuditCounts::default());
}

#[test]
fn a_full_disk_is_waited_for_and_loses_nothing() {
    let (out, disk) = output();
    // Room for the start and the middle of a line.
    disk.lock().unwrap().room = Some(300);
    let (log, writer) = audit_log(Overflow::Drop, out);
    let thread = thread::spawn(move || writer.run());
    for n in 0..1000 {
        log.record(|| event(&n.to_string())).unwrap();
    }
    wait_until("it fails", || log.counts().failing);
    disk.lock().unwrap().room = None;
    wait_until("written", || log.counts().written == 1000);
    assert!(!log.counts().failing);
    drop(log);
    assert_eq!(thread.join().unwrap(), 0);
    let lines = lines(&disk.lock().unwrap().files[0]);
    assert_eq!(check_numbers(&lines), 0);
    let objects: Vec<_> = lines.iter().filter_map(|l| l["object"].as_str()).collect();
    assert_eq!(
        objects,
        (0..1000).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn a_rotation_cuts_no_line_even_while_the_disk_is_full() {
    let (out, disk) = output();
    disk.lock().unwrap().room = Some(500);
    let (log, writer) = audit_log(Overflow::Drop, out);
    let thread = thread::spawn(move || writer.run());
    for n in 0..100 {
        log.record(|| event(&n.to_string())).unwrap();
    }
    wait_until("it fails", || log.counts().failing);
    log.reopen();
    wait_until("a second file", || disk.lock().unwrap().files.len() == 2);
    disk.lock().unwrap().room = None;
    wait_until("written", || log.counts().written == 100);
    log.reopen();
    wait_until("a third file", || disk.lock().unwrap().files.len() == 3);
    log.record(|| event("after")).unwrap();
    drop(log);
    thread.join().unwrap();
    let disk = disk.lock().unwrap();
    // The old file ends in the middle of a line, which the new one has whole.
    let end = disk.files[0].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    assert!(end < disk.files[0].len());
    let mut all = lines(&disk.files[0][..end]);
    all.extend(lines(&disk.files[1]));
    let third = lines(&disk.files[2]);
    assert_eq!(events(&third), ["dek_unwrap", "end"]);
    all.extend(third);
    assert_eq!(check_numbers(&all), 0);
    assert_eq!(
        all.iter().filter(|l| l["event"] == "dek_unwrap").count(),
        101
    );
}

#[test]
fn the_end_does_not_wait_for_ever_and_counts_what_is_lost() {
    let (out, disk) = output();
    disk.lock().unwrap().room = Some(0);
    let (log, writer) = audit_log(Overflow::Drop, out);
    for n in 0..5 {
        log.record(|| event(&n.to_string())).unwrap();
    }
    log.close();
    drop(log);
    assert_eq!(thread::spawn(move || writer.run()).join().unwrap(), 5);
}

#[test]
fn what_does_not_reach_the_disk_is_failing_until_it_does() {
    let (out, disk) = output();
    disk.lock().unwrap().unsyncable = true;
    let (log, writer) = audit_log(Overflow::Drop, out);
    let thread = thread::spawn(move || writer.run());
    log.record(|| event("1")).unwrap();
    wait_until("it fails", || log.counts().failing);
    // A write that works does not mend it.
    log.record(|| event("2")).unwrap();
    wait_until("written", || log.counts().written == 2);
    assert!(log.counts().failing);
    disk.lock().unwrap().unsyncable = false;
    wait_until("it is tried again", || !log.counts().failing);
    let synced = disk.lock().unwrap().synced;
    assert_eq!(synced, disk.lock().unwrap().files[0].len());
    drop(log);
    assert_eq!(thread.join().unwrap(), 0);
}

#[test]
fn a_line_that_a_killed_process_left_unfinished_is_not_continued() {
    let path = std::env::temp_dir().join(format!("sealgate-audit-torn-{}", std::process::id()));
    std::fs::write(&path, "{\"event\":\"end\"}\n{\"event\":\"dek_wr").unwrap();
    let (log, writer) = audit_log(Overflow::Drop, AuditFile::open(&path).unwrap());
    drop(log);
    assert_eq!(writer.run(), 0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let found: Vec<_> = text.lines().collect();
    assert_eq!(found.len(), 4, "{text}");
    assert_eq!(
        events(&lines(found[2..].join("\n").as_bytes())),
        ["start", "end"]
    );
}

#[test]
fn files_are_private_and_appended_to() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("sealgate-audit-{}", std::process::id()));
    for _ in 0..2 {
        let (log, writer) = audit_log(Overflow::Drop, AuditFile::open(&path).unwrap());
        log.record(|| event("x")).unwrap();
        drop(log);
        assert_eq!(writer.run(), 0);
    }
    let bytes = std::fs::read(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(mode & 0o777, 0o600);
    let lines = lines(&bytes);
    assert_eq!(events(&lines), ["start", "dek_unwrap", "end"].repeat(2));
    assert_ne!(lines[0]["run"], lines[3]["run"]);
}
