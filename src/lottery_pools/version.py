"""The version of this package: the build reads it, ticket files carry it."""

VERSION = "0.1.0"
