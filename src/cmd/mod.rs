//! One file per verb; the only place that prints.
