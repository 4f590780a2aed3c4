package command

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

const (
	// BackupPath is the path of a copy of the database, below AdminPrefix. The copy
	// holds the records of every vendor, so it is not part of the management API.
	BackupPath = "/store/backup"
	// BackupDigest is the HTTP trailer with the SHA-256 of the copy, in hex. An
	// incomplete transfer has none.
	BackupDigest = "Gatefold-Backup-Sha256"
)

func (o Options) storeCommands(cmd *cobra.Command) {
	backup := subcommand(cmd, "backup <file>", "Writes a sealed, consistent copy of the running server's database to a file", cobra.ExactArgs(1), backupStore)
	backup.Flags().Bool("force", false, "replace an existing file")
	subcommand(cmd, "compact", "Makes the running server's database file as short as its content, while it is in use", cobra.NoArgs, compactStore)
	o.copyCommand(cmd)
	o.restoreCommand(cmd)
	subcommand(cmd, "accept-loss", "Ends the condition store_went_back on all nodes: counted links open again", cobra.NoArgs, acceptLoss)
	verify := subcommand(cmd, "verify [<file>]", "Verifies a backup, or a database that no server has open", cobra.MaximumNArgs(1), func(c *call) error {
		if len(c.args) == 0 {
			c.args = []string{o.Database()}
		}
		return o.verifyStore(c)
	})
	o.secretFlags(verify)
}

// backupStore writes the copy to a temporary file, and renames it when it is
// complete and synced.
func backupStore(c *call) error {
	target := c.args[0]
	if _, err := os.Lstat(target); !c.on("force") && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already: choose another name, or --force to replace it", target)
	}
	response, err := c.download(BackupPath, "*/*")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	temporary, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	size, err := copyBackup(temporary, response)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), target); err != nil {
		return err
	}
	if err := nodefile.SyncFolder(target); err != nil {
		return err
	}
	return c.print(map[string]any{"file": target, "bytes": size},
		line("copied %s to %s; it is sealed by the secret, which is not included", humanize.IBytes(uint64(size)), target))
}

// copyBackup copies the body of the response and compares the digest in its
// trailer.
func copyBackup(to io.Writer, response *http.Response) (int64, error) {
	digest := sha256.New()
	size, err := io.Copy(io.MultiWriter(to, digest), response.Body)
	if err != nil {
		return size, fmt.Errorf("the copy ended after %d bytes: %w", size, err)
	}
	if response.Trailer.Get(BackupDigest) != hex.EncodeToString(digest.Sum(nil)) {
		return size, errors.New("the copy is incomplete: its SHA-256 is not the one that the server sent")
	}
	return size, nil
}

func (o Options) verifyStore(c *call) error {
	name, what := c.args[0], "an intact database"
	if isSealed(name) {
		_, _, backups, err := o.backupSealer(c)
		if err != nil {
			return err
		}
		plain, remove, err := unsealAside(name, backups)
		if err != nil {
			return err
		}
		defer remove()
		name, what = plain, "an intact and sealed backup"
	}
	err := boltengine.Verify(name, store.CheckRecord)
	if err != nil && name != c.args[0] {
		return errors.New(strings.ReplaceAll(err.Error(), name, c.args[0]))
	}
	if errors.Is(err, boltengine.ErrInUse) {
		return fmt.Errorf("%w: a server has it open; make a copy with `store backup` and verify that", err)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.out, line("%s is %s", c.args[0], what))
	return err
}
