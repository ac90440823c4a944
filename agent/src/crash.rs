//! Where the agent can be told to die, so that tests can prove that a machine which dies there is not lost.

use farrier_common::words;

words! {
    /// A place at which the agent can be told to die. The context is the task's kind, but for the first one.
    Point {
        /// The session is open; nothing was asked for yet. The context is what the boot is for.
        HelloAnswered = "hello-answered",
        /// A task was handed out, nothing of it is done.
        TaskReceived = "task-received",
        /// Half of an image is written.
        ImageWriting = "image-writing",
        /// An image is written to its end; it is not read back.
        ImageWritten = "image-written",
        /// The seed is in the image's root file-system.
        SeedLaid = "seed-laid",
        /// The disks to erase are known, nothing of them is erased.
        EraseBegun = "erase-begun",
        /// At least half of the first disk is blank; nothing is proven.
        Erasing = "erasing",
        /// The task is done; its result is not told.
        WorkDone = "work-done",
        /// The rack has the task's result.
        Reported = "reported",
    }
}

/// Words that the points come with.
pub const CONTEXTS: &[&str] = &[
    "inventory",
    "write-image",
    "erase",
    "power-off",
    "run-scripts",
    "open-ssh",
    "bmc-account",
    "commissioning",
    "testing",
    "deploying",
    "releasing",
    "entering-rescue",
];
