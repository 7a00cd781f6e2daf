// Filled by the operator protocol.
