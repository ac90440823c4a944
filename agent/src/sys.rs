//! The few kernel calls on block devices that the standard library does not have. The one file with `unsafe`.
#![expect(
    unsafe_code,
    reason = "ioctl has no safe form; each call below passes a descriptor and memory that outlive it"
)]

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::FileTypeExt as _},
};

use nix::fcntl::{FallocateFlags, fallocate};

mod ioctl {
    // Named as in linux/fs.h.
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_none!(blkflsbuf, 0x12, 97);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
}

/// Makes a block device forget `length` bytes from `offset` (TRIM, UNMAP, Deallocate); in a file, punches a hole.
///
/// # Errors
/// The device cannot or does not.
pub fn discard(file: &File, offset: u64, length: u64) -> io::Result<()> {
    if !is_block(file)? {
        return allocate(
            file,
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
            offset,
            length,
        );
    }
    // SAFETY: the descriptor is open for the call and the kernel only reads the two numbers.
    unsafe { ioctl::blkdiscard(file.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

/// Has the device write zeros over `length` bytes from `offset`, itself if it can; in a file, zeroes the range.
///
/// # Errors
/// The device failed.
pub fn write_zeroes(file: &File, offset: u64, length: u64) -> io::Result<()> {
    if !is_block(file)? {
        return allocate(file, FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, length);
    }
    // SAFETY: as above.
    unsafe { ioctl::blkzeroout(file.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

/// Writes out what the kernel holds for the device and forgets it, so that the next read asks the device.
///
/// # Errors
/// Something could not be written, or the kernel refuses.
pub fn forget_cache(file: &File) -> io::Result<()> {
    file.sync_all()?;
    if is_block(file)? {
        // SAFETY: takes no memory.
        unsafe { ioctl::blkflsbuf(file.as_raw_fd()) }?;
    }
    Ok(())
}

/// Has the kernel read the partition table anew; of a file it keeps none.
///
/// # Errors
/// A partition is in use, or `file` is no whole disk.
pub fn reread_partitions(file: &File) -> io::Result<()> {
    if !is_block(file)? {
        return Ok(());
    }
    // SAFETY: takes no memory.
    unsafe { ioctl::blkrrpart(file.as_raw_fd()) }?;
    Ok(())
}

fn is_block(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.file_type().is_block_device())
}

fn allocate(file: &File, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
    let signed = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    fallocate(file, flags, signed(offset)?, signed(length)?)?;
    Ok(())
}
