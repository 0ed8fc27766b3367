"""What providers of data on web servers have in common: sizes, ranges, versions, digests, redirects."""
