//! Tests of the agent route from outside: one binary, for link time.
