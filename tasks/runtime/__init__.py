"""Runtime: devices, progress, stage timers, retries, versions, exceptions of libraries."""
