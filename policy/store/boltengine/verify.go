package boltengine

import (
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// maxFindings bounds the faults that Verify reports: a damaged file can have one per
// page.
const maxFindings = 10

// Verify reads the whole database at path, which must not be in use, and returns an
// error that describes its damage: pages that are not valid, and values that record, unless
// it is nil, refuses. It does not change the file.
func Verify(path string, record RecordCheck) error {
	if err := checkPresent(path); err != nil {
		return explain(path, err)
	}
	db, err := openBolt(path, &bbolt.Options{
		Timeout:  lockTimeout,
		ReadOnly: true,
		// Here a panic can be recovered; otherwise bbolt loads it elsewhere.
		PreLoadFreelist: true,
		FreelistType:    bbolt.FreelistMapType,
	})
	if err != nil {
		return explain(path, err)
	}
	defer db.Close()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return explain(path, err)
	}
	defer file.Close()
	if err := db.View(func(tx *bbolt.Tx) error { return verify(tx, file, record) }); err != nil {
		return explain(path, err)
	}
	return nil
}

// verify checks the pages first: what follows may then be read by bbolt.
func verify(tx *bbolt.Tx, file *os.File, record RecordCheck) (err error) {
	defer guard(&err)
	if err := checkFile(file, tx.DB().Info().PageSize, tx.ID(), record); err != nil {
		return err
	}
	return checkFormat(tx)
}
