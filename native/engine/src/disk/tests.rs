use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use domp_log::{AlignedBuf, Disk as _};

use super::*;

/// A directory of its own on the build's disk, gone with the value.
struct TestDirectory(PathBuf);

impl TestDirectory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("domp-disk-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory for a test");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        // A leftover in the temporary directory fails no test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn disk(directory: &TestDirectory) -> RealDisk {
    let choice = FlushChoice::measure(directory.path()).expect("a disk that can be written");
    RealDisk::new(directory.path(), choice)
}

fn buffer(byte: u8, len: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::new();
    buffer.extend_from_slice(&vec![byte; len]);
    buffer
}

#[test]
fn what_is_written_is_read_back_by_every_flush_method() {
    for method in [FlushMethod::DataSync, FlushMethod::Dsync] {
        for direct in [true, false] {
            let directory = TestDirectory::new();
            let choice = FlushChoice {
                method,
                direct,
                data_sync_ns: 0,
                dsync_ns: 0,
            };
            let mut disk = RealDisk::new(directory.path(), choice);
            disk.create("wal/1.log", 64 << 10).expect("created");
            disk.write_durable("wal/1.log", 8192, &buffer(7, 4096))
                .expect("written");
            disk.write("wal/1.log", 16384, buffer(9, 8192).as_slice())
                .expect("written");
            disk.sync("wal/1.log").expect("synced");
            let mut back = AlignedBuf::zeroed(64 << 10);
            let read = disk
                .read("wal/1.log", 0, back.as_mut_slice())
                .expect("read");
            assert_eq!(read, 64 << 10);
            let mut expected = vec![0; 64 << 10];
            expected[8192..12288].fill(7);
            expected[16384..24576].fill(9);
            assert!(back.as_slice() == expected, "{}", choice.name());
            let mut check = RealDisk::for_check(directory.path());
            let mut again = AlignedBuf::zeroed(64 << 10);
            check
                .read("wal/1.log", 0, again.as_mut_slice())
                .expect("read");
            assert!(again.as_slice() == expected, "the disk holds it too");
        }
    }
}

#[test]
fn a_created_file_is_zero_and_takes_its_space() {
    let directory = TestDirectory::new();
    let mut disk = disk(&directory);
    disk.create("wal/2.tmp", 3 << 20).expect("created");
    let metadata = fs::metadata(directory.path().join("wal/2.tmp")).expect("it is there");
    assert_eq!(metadata.len(), 3 << 20);
    assert!(metadata.blocks() * 512 >= 3 << 20, "no hole");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(directory.path().join("wal/2.tmp")).expect("readable");
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert!(disk.create("wal/3.tmp", 100).is_err(), "no whole block");
}

#[test]
fn creating_over_a_file_replaces_it_for_those_who_had_it_open() {
    let directory = TestDirectory::new();
    let mut disk = disk(&directory);
    disk.create("a", 8192).expect("created");
    disk.write_durable("a", 0, &buffer(1, 8192))
        .expect("written");
    disk.create("a", 4096).expect("created again");
    let mut back = AlignedBuf::zeroed(8192);
    let read = disk.read("a", 0, back.as_mut_slice()).expect("read");
    assert_eq!(read, 4096, "reading ends at the file's end");
    assert!(back.as_slice().iter().all(|byte| *byte == 0));
}

#[test]
fn a_rename_or_removal_by_one_thread_is_seen_by_the_others_handles() {
    let directory = TestDirectory::new();
    let mut worker = disk(&directory);
    let mut background = worker.clone();
    worker.create("seg", 4096).expect("created");
    worker
        .write_durable("seg", 0, &buffer(1, 4096))
        .expect("written");
    background.create("seg.tmp", 4096).expect("created");
    background.rename("seg.tmp", "seg").expect("renamed");
    worker
        .write_durable("seg", 0, &buffer(2, 4096))
        .expect("written");
    let bytes = fs::read(directory.path().join("seg")).expect("readable");
    assert!(
        bytes.iter().all(|byte| *byte == 2),
        "the write went to the new file"
    );
    background.remove("seg").expect("removed");
    let gone = worker.write_durable("seg", 0, &buffer(3, 4096));
    assert_eq!(
        gone.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::NotFound)
    );
    worker.sync_directory().expect("synced");
}

#[test]
fn listing_names_the_logs_files_and_not_the_engines() {
    let directory = TestDirectory::new();
    let held = DataDirectory::take(directory.path()).expect("taken");
    Identity::load_or_create(held.path()).expect("made");
    let mut disk = disk(&directory);
    disk.create("wal/1.log", 4096).expect("created");
    disk.create("snap/7.snap", 0).expect("created");
    let mut files = disk.list().expect("listed");
    files.sort();
    let files: Vec<(&str, u64)> = files
        .iter()
        .map(|file| (file.name.as_str(), file.len))
        .collect();
    assert_eq!(files, [("snap/7.snap", 0), ("wal/1.log", 4096)]);
    assert!(disk.free_bytes().expect("asked") > 0);
}

#[test]
fn more_files_than_are_kept_open_still_work() {
    let directory = TestDirectory::new();
    let mut disk = disk(&directory);
    for n in 0..20_u8 {
        disk.create(&format!("f{n}"), 4096).expect("created");
        disk.write_durable(&format!("f{n}"), 0, &buffer(n, 4096))
            .expect("written");
    }
    for n in 0..20_u8 {
        let mut back = AlignedBuf::zeroed(4096);
        disk.read(&format!("f{n}"), 0, back.as_mut_slice())
            .expect("read");
        assert!(back.as_slice().iter().all(|byte| *byte == n));
    }
}

#[test]
fn a_directory_is_held_by_one_engine_at_a_time() {
    let directory = TestDirectory::new();
    let path = directory.path().join("deep/er");
    let held = DataDirectory::take(&path).expect("made and taken");
    let refused = DataDirectory::take(&path).expect_err("it is held");
    let said = refused.to_string();
    assert!(said.contains("is in use by process"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    drop(held);
    DataDirectory::take(&path).expect("free again");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn reading_a_directory_keeps_engines_off_and_changes_nothing() {
    let directory = TestDirectory::new();
    let absent = directory.path().join("absent");
    assert!(DataDirectory::share(&absent).is_err());
    assert!(!absent.exists());
    let unlocked = DataDirectory::share(directory.path()).expect("no lock, no holder");
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    drop(unlocked);
    let held = DataDirectory::take(directory.path()).expect("taken");
    assert!(DataDirectory::share(directory.path()).is_err());
    drop(held);
    let one = DataDirectory::share(directory.path()).expect("shared");
    let two = DataDirectory::share(directory.path()).expect("shared again");
    assert!(DataDirectory::take(directory.path()).is_err());
    drop((one, two));
    DataDirectory::take(directory.path()).expect("free again");
}

#[test]
fn an_identity_is_made_once_and_kept() {
    let directory = TestDirectory::new();
    let first = Identity::load_or_create(directory.path()).expect("made");
    let again = Identity::load_or_create(directory.path()).expect("read");
    assert!(first == again && first.node != 0);
    assert!(first.session_key.iter().any(|byte| *byte != 0));
    let other = TestDirectory::new();
    let second = Identity::load_or_create(other.path()).expect("made");
    assert!(first.node != second.node && first.session_key != second.session_key);
    let path = directory.path().join("identity");
    let mode = fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        !format!("{first:?}").contains("session_key"),
        "the key is not printed"
    );
}

#[test]
fn a_damaged_identity_is_refused_whichever_byte_it_is() {
    let directory = TestDirectory::new();
    Identity::load_or_create(directory.path()).expect("made");
    let path = directory.path().join("identity");
    let good = fs::read(&path).expect("readable");
    for at in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            fs::write(&path, &bad).expect("written");
            let refused = Identity::load_or_create(directory.path());
            assert!(
                matches!(refused, Err(IdentityError::Damaged(_))),
                "byte {at}"
            );
        }
    }
    for cut in 0..good.len() {
        fs::write(&path, &good[..cut]).expect("written");
        assert!(
            Identity::load_or_create(directory.path()).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn data_without_an_identity_are_refused() {
    let directory = TestDirectory::new();
    fs::create_dir(directory.path().join("wal")).expect("made");
    let refused = Identity::load_or_create(directory.path());
    assert!(matches!(refused, Err(IdentityError::Missing)));
}

#[test]
fn a_start_cut_short_while_making_the_identity_begins_anew() {
    let directory = TestDirectory::new();
    fs::write(directory.path().join("identity.new"), b"domp ide").expect("written");
    Identity::load_or_create(directory.path()).expect("made");
    assert!(!directory.path().join("identity.new").exists());
}

#[test]
fn measuring_leaves_nothing_behind_and_takes_the_lower_median() {
    let directory = TestDirectory::new();
    let choice = FlushChoice::measure(directory.path()).expect("measured");
    assert_eq!(
        choice.method == FlushMethod::Dsync,
        choice.dsync_ns < choice.data_sync_ns
    );
    assert!(choice.data_sync_ns > 0 && choice.dsync_ns > 0);
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
}

#[test]
fn memory_is_told_from_disk() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        println!("skipped: needs /dev/shm");
        return;
    }
    assert_eq!(FileSystem::of(shm).expect("asked"), FileSystem::Memory);
    assert!(
        FileSystem::Memory
            .warning()
            .is_some_and(|text| text.contains("loses everything"))
    );
    assert!(FileSystem::Disk.warning().is_none());
}

#[test]
fn direct_io_falls_back_where_a_file_system_has_none() {
    // sysfs and procfs refuse O_DIRECT; a file of /proc that can be opened for writing is enough.
    let opened = flush::open_for_flush(Path::new("/proc/self/comm"), FlushMethod::DataSync, true);
    let (_file, direct) = opened.expect("opened without direct IO");
    assert!(!direct);
}
