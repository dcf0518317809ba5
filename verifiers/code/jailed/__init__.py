"""Programs for inside the jail; each is sent as a file, with verifiers.code.data beside it."""
