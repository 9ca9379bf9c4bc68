use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use domp_log::{AlignedBuf, Disk as _};

use super::*;

/// A directory of its own on the build's disk, gone with the value.
pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("domp-disk-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory for a test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
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
    RealDisk::new(directory.path(), None, choice)
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
            let mut disk = RealDisk::new(directory.path(), None, choice);
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
            let mut check = RealDisk::for_check(directory.path(), None);
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
    let _held = DataDirectory::take(directory.path(), None).expect("taken");
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
    let held = DataDirectory::take(&path, None).expect("made and taken");
    let refused = DataDirectory::take(&path, None).expect_err("it is held");
    let said = refused.to_string();
    assert!(said.contains("is in use by process"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    drop(held);
    DataDirectory::take(&path, None).expect("free again");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn the_root_of_a_file_system_serves_as_a_directory() {
    let directory = TestDirectory::new();
    // Nobody may look into it; that a link in it is not seen tells that nobody did.
    let lost = directory.path().join("lost+found");
    fs::create_dir(&lost).expect("made");
    symlink(directory.path(), lost.join("link")).expect("linked");
    fs::write(lost.join("#12"), b"found").expect("written");
    let _held = DataDirectory::take(directory.path(), None).expect("taken");
    let mut disk = disk(&directory);
    assert!(disk.list().expect("listed").is_empty());
    disk.sync_directory().expect("synced");
}

#[test]
fn a_removed_lock_file_lets_nobody_in() {
    let directory = TestDirectory::new();
    let held = DataDirectory::take(directory.path(), None).expect("taken");
    fs::remove_file(directory.path().join("LOCK")).expect("it is a file");
    for second in [DataDirectory::take, DataDirectory::share] {
        let refused = second(directory.path(), None).expect_err("it is held still");
        assert!(refused.to_string().contains("is in use by another process"));
    }
    drop(held);
    DataDirectory::take(directory.path(), None).expect("free again");
}

#[test]
fn reading_a_directory_keeps_engines_off_and_changes_nothing() {
    let directory = TestDirectory::new();
    let absent = directory.path().join("absent");
    assert!(DataDirectory::share(&absent, None).is_err());
    assert!(!absent.exists());
    let unheld = DataDirectory::share(directory.path(), None).expect("nobody held it");
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    assert!(DataDirectory::take(directory.path(), None).is_err());
    drop(unheld);
    let held = DataDirectory::take(directory.path(), None).expect("taken");
    assert!(DataDirectory::share(directory.path(), None).is_err());
    drop(held);
    let one = DataDirectory::share(directory.path(), None).expect("shared");
    let two = DataDirectory::share(directory.path(), None).expect("shared again");
    assert!(DataDirectory::take(directory.path(), None).is_err());
    drop((one, two));
    DataDirectory::take(directory.path(), None).expect("free again");
}

#[test]
fn a_symbolic_link_in_the_directory_is_refused_by_name() {
    for name in ["wal", "snap", "identity", "LOCK", "deep/file"] {
        let (directory, other) = (TestDirectory::new(), TestDirectory::new());
        let link = directory.path().join(name);
        fs::create_dir_all(link.parent().expect("below the directory")).expect("made");
        symlink(other.path(), &link).expect("linked");
        for open in [DataDirectory::take, DataDirectory::share] {
            let refused = open(directory.path(), None).expect_err("a link");
            let said = refused.to_string();
            assert!(said.contains(&link.display().to_string()), "{said}");
            assert!(said.contains("symbolic link") && said.contains("log.dir"));
        }
    }
    let (directory, outside) = (TestDirectory::new(), TestDirectory::new());
    let link = outside.path().join("data");
    symlink(directory.path(), &link).expect("linked");
    let held = DataDirectory::take(&link, None).expect("a link to it is no link in it");
    assert!(DataDirectory::take(directory.path(), None).is_err());
    drop(held);
}

/// A data directory and one of its log.
fn apart() -> (TestDirectory, TestDirectory) {
    (TestDirectory::new(), TestDirectory::new())
}

#[test]
fn the_logs_files_can_be_elsewhere_under_the_same_names() {
    let (directory, log) = apart();
    let held = DataDirectory::take(directory.path(), Some(log.path())).expect("taken");
    held.claim_log(7).expect("written");
    let choice = FlushChoice::measure(log.path()).expect("measured");
    let mut disk = RealDisk::new(held.path(), held.log_path(), choice);
    disk.create("wal/1.tmp", 4096).expect("created");
    disk.rename("wal/1.tmp", "wal/1.log").expect("renamed");
    disk.write_durable("wal/1.log", 0, &buffer(3, 4096))
        .expect("written");
    disk.create("snap/7.snap", 0).expect("created");
    disk.sync_directory().expect("synced");
    assert_eq!(
        fs::read(log.path().join("1.log")).expect("there"),
        [3; 4096]
    );
    assert!(!directory.path().join("wal").exists());
    let names = |disk: &mut RealDisk| {
        let files = disk.list().expect("listed");
        let mut names: Vec<String> = files.into_iter().map(|file| file.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&mut disk), ["snap/7.snap", "wal/1.log"]);
    let mut check = RealDisk::for_check(directory.path(), Some(log.path()));
    assert_eq!(names(&mut check), ["snap/7.snap", "wal/1.log"]);
    disk.remove("wal/1.log").expect("removed");
    assert_eq!(names(&mut disk), ["snap/7.snap"]);
    assert!(disk.free_bytes().expect("asked") > 0);
}

#[test]
fn the_logs_directory_is_held_too() {
    let (one, log) = apart();
    let other = TestDirectory::new();
    let held = DataDirectory::take(one.path(), Some(log.path())).expect("taken");
    for open in [DataDirectory::take, DataDirectory::share] {
        let refused = open(other.path(), Some(log.path())).expect_err("the log is held");
        let said = refused.to_string();
        assert!(said.contains("the log's directory"), "{said}");
        assert!(said.contains("is in use by process"), "{said}");
    }
    drop(held);
    DataDirectory::take(other.path(), Some(log.path())).expect("free again");
}

/// Makes a data directory's identity that of a node.
fn name(directory: &TestDirectory, node: u64) {
    let identity = domp_log::Identity {
        node,
        ..domp_log::Identity::default()
    };
    fs::write(directory.path().join("identity"), identity.text()).expect("written");
}

#[test]
fn the_log_of_another_node_is_refused_one_server_after_the_other() {
    let (directory, log) = apart();
    name(&directory, 7);
    let held = DataDirectory::take(directory.path(), Some(log.path())).expect("nobody's");
    held.claim_log(7).expect("written");
    held.claim_log(7).expect("again");
    drop(held);
    DataDirectory::take(directory.path(), Some(log.path())).expect("its own");

    let other = TestDirectory::new();
    let refused = DataDirectory::take(other.path(), Some(log.path())).expect_err("a new node");
    assert!(refused.to_string().contains("of its own"), "{refused}");
    DataDirectory::share(other.path(), Some(log.path())).expect("it may be looked at");
    name(&other, 8);
    for open in [DataDirectory::take, DataDirectory::share] {
        let refused = open(other.path(), Some(log.path())).expect_err("another's");
        let said = refused.to_string();
        assert!(said.contains("of node 0000000000000007"), "{said}");
        assert!(said.contains("is of node 0000000000000008"), "{said}");
    }
    let owner = log.path().join("node");
    let good = fs::read(&owner).expect("readable");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&owner, bad).expect("written");
        let opened = DataDirectory::take(directory.path(), Some(log.path()));
        assert!(opened.is_err(), "byte {at}");
    }
}

#[test]
fn a_log_in_both_places_or_one_directory_in_the_other_is_refused() {
    let (directory, log) = apart();
    for inside in [
        directory.path().to_owned(),
        directory.path().join("wal"),
        directory.path().join("log"),
    ] {
        let refused = DataDirectory::take(directory.path(), Some(&inside));
        assert!(refused.is_err(), "{}", inside.display());
    }
    let refused = DataDirectory::take(&directory.path().join("data"), Some(directory.path()));
    assert!(refused.is_err());
    let made = fs::read_dir(directory.path()).expect("readable").count();
    assert_eq!(made, 0, "who is refused leaves nothing");
    fs::create_dir_all(directory.path().join("wal")).expect("made");
    DataDirectory::take(directory.path(), Some(log.path())).expect("an empty one says nothing");
    fs::write(directory.path().join("wal/0000000001.log"), "").expect("written");
    let refused = DataDirectory::take(directory.path(), Some(log.path())).expect_err("two logs");
    assert!(refused.to_string().contains("move its files"), "{refused}");
}

#[test]
fn a_link_in_the_logs_directory_is_refused() {
    let (directory, log) = apart();
    symlink(directory.path(), log.path().join("0000000001.log")).expect("linked");
    let refused = DataDirectory::take(directory.path(), Some(log.path())).expect_err("a link");
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
}

#[test]
fn small_files_are_read_whole_and_replaced() {
    let directory = TestDirectory::new();
    let mut disk = disk(&directory);
    assert_eq!(disk.read_small("identity").expect("asked"), None);
    for bytes in [&b"a longer text than the next"[..], b"short", b""] {
        disk.write_small("identity", bytes).expect("written");
        let back = disk.read_small("identity").expect("read");
        assert_eq!(back.as_deref(), Some(bytes));
    }
    disk.write_small("deep/new", b"x").expect("written");
    disk.rename("deep/new", "deep/old").expect("renamed");
    assert_eq!(disk.read_small("deep/new").expect("asked"), None);
    let metadata = fs::metadata(directory.path().join("deep/old")).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    fs::create_dir(directory.path().join("folder")).expect("made");
    assert!(
        disk.read_small("folder").is_err(),
        "no file is no small file"
    );
}

#[test]
fn writes_pass_through_a_cache_unless_they_go_around_it() {
    let directory = TestDirectory::new();
    for direct in [true, false] {
        let choice = FlushChoice {
            method: FlushMethod::DataSync,
            direct,
            data_sync_ns: 0,
            dsync_ns: 0,
        };
        let disk = RealDisk::new(directory.path(), None, choice);
        assert_eq!(disk.is_cached(), !direct);
    }
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
fn a_full_disk_is_told_from_one_that_fails_and_starts_unmeasured() {
    // Every write to this device fails for want of room, as on a full disk.
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: needs /dev/full");
        return;
    }
    let directory = TestDirectory::new();
    fs::write(directory.path().join("present"), [0; 4096]).expect("written");
    symlink(full, directory.path().join("probe")).expect("linked");
    let choice = FlushChoice::measure(directory.path()).expect("what is there can be read");
    assert!(choice.is_unmeasured() && choice.method == FlushMethod::DataSync);
    let measured = FlushChoice::measure(directory.path()).expect("the link went with the probe");
    assert!(!measured.is_unmeasured());
    assert_eq!(
        choice.direct, measured.direct,
        "told by the file that is there"
    );
    let absent = FlushChoice::measure(&directory.path().join("absent"));
    assert!(absent.is_err(), "other failures are failures");
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
            .warning("data directory")
            .is_some_and(|text| text.contains("loses everything"))
    );
    assert!(FileSystem::Disk.warning("x").is_none());
}

#[test]
fn direct_io_falls_back_where_a_file_system_has_none() {
    // sysfs and procfs refuse O_DIRECT; a file of /proc that can be opened for writing is enough.
    let opened = flush::open_for_flush(Path::new("/proc/self/comm"), FlushMethod::DataSync, true);
    let (_file, direct) = opened.expect("opened without direct IO");
    assert!(!direct);
}

#[test]
fn what_is_written_to_the_log_is_counted_and_nothing_else() {
    let directory = TestDirectory::new();
    let mut disk = disk(&directory);
    disk.create("wal/1.tmp", 3 << 20).expect("created");
    disk.write("wal/1.tmp", 0, buffer(1, 4096).as_slice())
        .expect("written");
    disk.write_durable("wal/1.tmp", 4096, &buffer(1, 8192))
        .expect("written");
    disk.create("snap/1.tmp", 0).expect("created");
    disk.write("snap/1.tmp", 0, buffer(1, 4096).as_slice())
        .expect("written");
    assert_eq!(disk.clone().log_bytes(), (3 << 20) + 4096 + 8192);
    // Beside others a file is as whole as without.
    disk.work_beside_others();
    disk.create("wal/2.tmp", 1 << 20).expect("created");
    let bytes = fs::read(directory.path().join("wal/2.tmp")).expect("readable");
    assert!(bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 0));
}
