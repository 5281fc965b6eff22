use std::io;
use std::os::unix::fs::MetadataExt;

use sealgate_uring::{BlockSize, File, How, Pool, Spans, create_dir, rename, sync_dir, unlink};

use crate::support::{on_each_driver, pattern};

#[test]
fn reads_and_writes_at_offsets_scattered_and_not() {
    on_each_driver(|_| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        let pool = Pool::new(4 << 20);
        let [mut block] = pool.try_lease(BlockSize::Medium).unwrap();
        let bytes = pattern(200_000);
        let slots = Spans::slots(56, 0, 200_000, 16_384, 16_400);
        let mut from = 0;
        for r in slots.ranges() {
            let len = r.len();
            block[r].copy_from_slice(&bytes[from..from + len]);
            from += len;
        }
        let file = File::open(&path, How::CreateNew).await.unwrap();
        let (result, block) = file.write_all_at(block, slots, 1_000).await;
        result.unwrap();
        file.write_buf_at(b"start".to_vec(), 0).await.0.unwrap();
        file.sync_all().await.unwrap();
        assert_eq!(file.len().await.unwrap(), 201_000);
        file.close().await;
        let on_disk = std::fs::read(&path).unwrap();
        assert_eq!(&on_disk[..6], b"start\0");
        assert!(on_disk[1_000..] == bytes[..]);

        let file = File::open(&path, How::Read).await.unwrap();
        let (mut block, spans) = (block, Spans::slots(7, 5, 60_005, 1_000, 1_003));
        block.fill(0xee);
        let (result, block) = file.read_at(block, spans, 1_234).await;
        assert_eq!(result.unwrap(), 60_000);
        let got: Vec<u8> = spans.ranges().flat_map(|r| block[r].to_vec()).collect();
        assert!(got == bytes[234..60_234]);
        assert_eq!(block[7 + 4], 0xee, "nothing before the spans is touched");
        assert_eq!(&block[7 + 1_000..7 + 1_003], &[0xee; 3], "nor between them");

        // Short at the end of the file, and nothing behind it.
        let (result, block) = file
            .read_at(block, Spans::contiguous(0..1_000), 200_900)
            .await;
        assert_eq!(result.unwrap(), 100);
        assert!(block[..100] == bytes[199_900..]);
        let (result, block) = file
            .read_at(block, Spans::contiguous(0..1_000), 201_000)
            .await;
        assert_eq!(result.unwrap(), 0);
        let (result, _) = file
            .read_at(block, Spans::contiguous(0..usize::MAX), 0)
            .await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let mut buf = Vec::with_capacity(8);
        buf.extend_from_slice(b"> ");
        let (result, buf) = file.read_buf_at(buf, 0).await;
        assert_eq!((result.unwrap(), &buf[..]), (6, &b"> start\0"[..]));
        assert_eq!(pool.in_use(), 0);
    });
}

#[test]
fn opening_says_what_is_wrong() {
    on_each_driver(|_| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a file with spaces ü");
        let missing = File::open(&path, How::Read).await.err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        File::open(&path, How::ReadWrite)
            .await
            .unwrap()
            .write_buf_at(b"kept".to_vec(), 0)
            .await
            .0
            .unwrap();
        let exists = File::open(&path, How::CreateNew).await.err().unwrap();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        let again = File::open(&path, How::ReadWrite).await.unwrap();
        assert_eq!(again.len().await.unwrap(), 4);
        let read_only = File::open(&path, How::Read).await.unwrap();
        assert!(read_only.write_buf_at(b"x".to_vec(), 0).await.0.is_err());
        let clone = again.try_clone_std().unwrap();
        again.close().await;
        assert_eq!(
            clone.metadata().unwrap().ino(),
            std::fs::metadata(&path).unwrap().ino()
        );
    });
}

#[test]
fn names_are_made_moved_and_removed() {
    on_each_driver(|_| async {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("bucket");
        create_dir(&dir).await.unwrap();
        assert_eq!(
            create_dir(&dir).await.unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let (a, b) = (dir.join("a"), dir.join("b"));
        std::fs::write(&a, "new").unwrap();
        std::fs::write(&b, "old").unwrap();
        rename(&a, &b).await.unwrap();
        sync_dir(&dir).await.unwrap();
        assert_eq!(std::fs::read(&b).unwrap(), b"new");
        assert_eq!(
            rename(&a, &b).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        unlink(&b).await.unwrap();
        assert_eq!(
            unlink(&b).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        // EINVAL, from the fallback too.
        assert!(rename(&dir, &dir.join("inside")).await.is_err());
        assert!(sync_dir(&dir.join("none")).await.is_err());
    });
}
