"""What a deployment's own runs say about it: where the seconds go, and what to do, in order of the seconds saved."""
