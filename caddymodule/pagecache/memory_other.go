//go:build !unix

package pagecache

// mapMemory returns memory without pointers, which the garbage collector does not scan.
func mapMemory(size int) ([]byte, error) { return make([]byte, size), nil }

func unmapMemory([]byte) error { return nil }
