"""The command line: parse the options, call one function, print its result. Imports torch only when it must."""
