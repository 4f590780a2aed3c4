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

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store/boltengine"
)

func (o Options) storeCommands(cmd *cobra.Command) {
	backup := subcommand(cmd, "backup <file>", "Copies the database of the running server, one moment of it", cobra.ExactArgs(1), backupStore)
	backup.Flags().Bool("force", false, "replace the file if there is one")
	cmd.AddCommand(o.copyCommand())
	cmd.AddCommand(&cobra.Command{
		Use: "verify [<file>]", Short: "Checks a database that no server has open, such as a backup", Args: cobra.MaximumNArgs(1), SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			file := o.Database()
			if len(args) == 1 {
				file = args[0]
			}
			return verifyStore(cmd.OutOrStdout(), file)
		},
	})
}

// BackupPath is where the local admin endpoint serves a copy of the database. It
// holds the records of every vendor, so it is not part of the management API.
const BackupPath = "/store/backup"

// BackupDigest is the HTTP trailer with the SHA-256 of the copy, in hex. A transfer
// that was cut short has none.
const BackupDigest = "Gatefold-Backup-Sha256"

// backupStore writes a copy that is whole or not there: under its name it
// appears only when every byte of it came and lies on the disk.
func backupStore(c *call) error {
	target := c.args[0]
	if force, _ := c.cmd.Flags().GetBool("force"); !force {
		if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists already: choose another name, or --force to replace it", target)
		}
	}
	response, err := c.download(c.cmd.Context(), BackupPath)
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
	if c.json {
		return c.printJSON(map[string]any{"file": target, "bytes": size})
	}
	fmt.Fprintf(c.out, "copied %s to %s; the secret that opens its keys is not in it\n", humanize.IBytes(uint64(size)), printable(target))
	return nil
}

// copyBackup writes what the server sends, and checks that it is all.
func copyBackup(to io.Writer, response *http.Response) (int64, error) {
	digest := sha256.New()
	size, err := io.Copy(io.MultiWriter(to, digest), response.Body)
	if err != nil {
		return size, fmt.Errorf("the copy was cut after %d bytes: %w", size, err)
	}
	if want := response.Trailer.Get(BackupDigest); want != hex.EncodeToString(digest.Sum(nil)) {
		return size, errors.New("the copy is not whole: what came is not what the server sent")
	}
	return size, nil
}

func verifyStore(out io.Writer, file string) error {
	err := boltengine.Verify(file)
	if errors.Is(err, boltengine.ErrInUse) {
		return fmt.Errorf("%w: a server has it open; make a copy with `store backup` and verify that", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is a whole database\n", printable(file))
	return nil
}
