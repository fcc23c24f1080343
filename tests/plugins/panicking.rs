//! state-counts itself, with its feature for this test: it panics at each job
//! that reaches SCHED. Built here, and not by itself, so that what it is made of
//! is compiled once for both.

use state_counts as _;
