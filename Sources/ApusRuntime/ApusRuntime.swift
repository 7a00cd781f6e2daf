// ApusRuntime
