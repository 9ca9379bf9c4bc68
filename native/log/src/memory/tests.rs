use super::*;

fn file(disk: &MemoryDisk) -> Vec<u8> {
    disk.contents("f").expect("the file was made")
}

fn with_file(blocks: usize) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    disk.create("f", (blocks * BLOCK_BYTES) as u64)
        .expect("room");
    disk.sync_directory().expect("no fault");
    disk
}

#[test]
fn only_what_was_synced_is_sure_to_survive() {
    let mut disk = with_file(4);
    disk.write("f", 0, &[1; BLOCK_BYTES]).expect("no fault");
    disk.sync("f").expect("no fault");
    disk.write("f", 4096, &[2; 2 * BLOCK_BYTES])
        .expect("no fault");
    let all = disk.crash_torn(1, Tear::Nothing);
    assert_eq!(file(&all), file(&disk));
    let none = disk.crash_torn(1, Tear::All);
    assert_eq!(file(&none)[..4096], [1; 4096]);
    assert!(file(&none)[4096..].iter().all(|&byte| byte == 0));
    let mut torn_inside_a_block = 0;
    for seed in 0..200 {
        for (tear, unit) in [(Tear::Sector, SECTOR_BYTES), (Tear::Block, BLOCK_BYTES)] {
            let bytes = file(&disk.crash_torn(seed, tear));
            assert_eq!(bytes[..4096], [1; 4096]);
            for piece in bytes[4096..3 * 4096].chunks(unit) {
                assert!(piece.iter().all(|&byte| byte == piece[0]) && [0, 2].contains(&piece[0]));
            }
            let block = &bytes[4096..8192];
            torn_inside_a_block += usize::from(block.iter().any(|&byte| byte != block[0]));
        }
        assert_eq!(
            file(&disk.crash(seed)),
            file(&disk.crash(seed)),
            "same seed, same crash"
        );
    }
    assert!(torn_inside_a_block > 10);
}

#[test]
fn names_survive_only_with_a_directory_sync() {
    let mut disk = with_file(1);
    disk.rename("f", "g").expect("exists");
    disk.create("h", 0).expect("room");
    let names = |disk: &MemoryDisk| disk.names.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&disk), "g h");
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        seen.insert(names(&disk.crash_torn(seed, Tear::Sector)));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["f", "g", "g h"]);
    disk.sync_directory().expect("no fault");
    assert_eq!(names(&disk.crash_torn(1, Tear::All)), "g h");
    disk.remove("g").expect("exists");
    assert_eq!(names(&disk.crash_torn(1, Tear::All)), "g h");
    assert_eq!(names(&disk.crash_torn(1, Tear::Nothing)), "h");
}

#[test]
fn a_failed_sync_forgets_what_it_should_have_flushed() {
    let mut disk = with_file(1);
    disk.write("f", 0, &[1; BLOCK_BYTES]).expect("no fault");
    disk.inject_next(Fault::Fail(io::ErrorKind::Other));
    disk.sync("f").expect_err("injected");
    disk.sync("f").expect("the fault is over");
    assert_eq!(file(&disk)[0], 1, "the page cache still shows it");
    assert_eq!(
        file(&disk.crash_torn(1, Tear::All))[0],
        0,
        "the disk never got it"
    );
    assert_eq!(disk.fault_counts().failed, 1);
}

#[test]
fn lost_misdirected_and_lied_about_writes() {
    let mut disk = with_file(4);
    let mut bytes = AlignedBuf::new();
    bytes.extend_from_slice(&[7; BLOCK_BYTES]);
    disk.inject_next(Fault::Lose);
    disk.write_durable("f", 0, &bytes).expect("reported done");
    assert!(file(&disk).iter().all(|&byte| byte == 0));
    disk.inject_next(Fault::Misdirect { blocks: 2 });
    disk.write_durable("f", 0, &bytes).expect("reported done");
    assert_eq!((file(&disk)[0], file(&disk)[2 * 4096]), (0, 7));
    disk.inject(disk.operations() + 2, Fault::Lie);
    disk.write_durable("f", 0, &bytes).expect("reported done");
    assert_eq!(file(&disk.crash_torn(1, Tear::All))[0], 0);
    assert!(disk.flip_bit("f", 5, 3));
    assert_eq!(file(&disk)[5], 7 ^ 8);
    let counts = disk.fault_counts();
    assert_eq!((counts.lost, counts.misdirected, counts.lied), (1, 1, 1));
}

#[test]
fn a_full_disk_refuses_and_a_crashed_one_does_nothing() {
    let mut disk = with_file(2);
    disk.set_capacity(3 * 4096);
    let full = disk.create("g", 8192).expect_err("no room");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.free_bytes().expect("no fault"), 4096);
    disk.write("f", 8192, &[1; 4096]).expect("a block is left");
    disk.write("f", 12288, &[1; 4096]).expect_err("no room");
    let done = disk.operations();
    disk.crash_after(done + 1);
    disk.write("f", 0, &[1; 4096])
        .expect("the last before the crash");
    disk.sync("f").expect_err("crashed");
    disk.list().expect_err("crashed");
    assert!(disk.is_crashed());
    let mut after = disk.crash(4);
    after.write("f", 0, &[1; 4096]).expect("runs again");
}
