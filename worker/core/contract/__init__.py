"""What comes in, what goes out, and what the journal holds: values, decoding, ownership."""
