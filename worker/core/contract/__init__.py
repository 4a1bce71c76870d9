"""Events, outputs and journal records: their types, decoding and ownership."""
