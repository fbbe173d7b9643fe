"""The processor's loop, the order, the journal, and the kernel that computes features online and in replay."""
