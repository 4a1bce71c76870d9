"""One batch: records decoded, folded into leads, planned as writes and outputs."""
