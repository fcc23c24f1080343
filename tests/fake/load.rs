//! Loads and removals of the plugin.

scenarios!(load:
    a_late_load_counts_the_jobs_of_a_live_instance,
    a_removal_leaves_no_gauge_and_no_code_behind,
    a_renamed_copy_is_refused_until_the_first_one_is_removed,
    a_second_load_is_refused_and_changes_nothing,
);
