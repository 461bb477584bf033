"""Building a release: a wheel, a source archive, the list of what they need (SBOM) and checksums, all checked."""
