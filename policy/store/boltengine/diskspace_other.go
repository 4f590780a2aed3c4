//go:build !linux && !darwin

package boltengine

// DiskSpace returns zero: what is available is not known.
func (e *Engine) DiskSpace() (total, available uint64, err error) { return 0, 0, nil }
