"""From runs to records on this machine: the plan, its estimate, the queue, one job, and merging of directories."""
