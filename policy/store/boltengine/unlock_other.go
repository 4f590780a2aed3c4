//go:build !unix || solaris || aix

package boltengine

import "os"

// unlock does nothing where closing a file is enough.
func unlock(*os.File) {}
