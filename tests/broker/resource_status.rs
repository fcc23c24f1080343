//! How many nodes there are, and which of them are down or drained.

scenarios!(resource_status: the_gauges_follow_the_resource_status);
