package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

func (o Options) restoreCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "restore <backup>", "Puts a backup in the place of the database, and says what that loses and opens", cobra.ExactArgs(1), o.restoreStore)
	cmd.Long = `
Puts a backup in the place of the database of a server that is stopped. It verifies
the backup, prints what would be lost and what would be open again, and keeps the old
database under another name. It is refused without --yes; --dry-run only prints.
`
	o.secretFlags(cmd)
	cmd.Flags().Bool("unsealed", false, "take a backup of an earlier version or a copy of the file, which is not sealed: its author may have put anything into it")
	cmd.Flags().Bool("dry-run", false, "print what would change, and change nothing")
	cmd.Flags().Bool("yes", false, "restore: what the database has and the backup has not is lost (required)")
}

// secretFlags adds the flags that say which secret opens a sealed backup.
func (o Options) secretFlags(cmd *cobra.Command) {
	cmd.Flags().String("database", "", "file of the database (default: where the server has it if the configuration names none)")
	cmd.Flags().String("secret", "", "the secret of the configuration, {env.NAME} or {file./path} (default: the file beside the database)")
}

// backupSealer returns the sealer of the secret, and that of backups.
func (o Options) backupSealer(c *call) (database string, sealer, backups *keys.Sealer, err error) {
	if database, err = filepath.Abs(cmp.Or(c.text("database"), o.Database())); err != nil {
		return "", nil, nil, err
	}
	secret, err := o.Secret(database, c.text("secret"))
	if err == nil {
		sealer, err = keys.NewSealer(secret)
	}
	if err == nil {
		backups, err = sealer.For(keys.PurposeBackup)
	}
	if real, linked := filepath.EvalSymlinks(database); linked == nil {
		database = real // its secret is beside the link
	}
	return database, sealer, backups, err
}

// unseal writes the database in a backup to a new file, which the caller removes. A backup of
// an earlier version is not sealed, and copied.
func unseal(backup string, sealer *keys.Sealer, target string) (name string, err error) {
	source, err := os.Open(backup) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	defer source.Close()
	file, err := os.CreateTemp(filepath.Dir(target), filepath.Base(target)+boltengine.RestoreSuffix) // mode 0600
	if err != nil {
		return "", err
	}
	if keys.IsSealedStream(source) {
		err = sealer.OpenStream(file, source)
	} else {
		_, err = io.Copy(file, source)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		_ = os.Remove(file.Name())
		return "", fmt.Errorf("backup %s cannot be opened: %w", backup, err)
	}
	return file.Name(), nil
}

// unsealAside writes the database in a sealed backup to a file without a name in the temporary
// folder, so that a command that is killed leaves no content of it. It returns a path by which
// this process can open it. Where the system has no such path the file has a name, and mode
// 0600, until remove is called.
func unsealAside(backup string, sealer *keys.Sealer) (path string, remove func(), err error) {
	source, err := os.Open(backup) //nolint:gosec // the operator names it
	if err != nil {
		return "", nil, err
	}
	defer source.Close()
	file, err := os.CreateTemp("", "gatefold-verify-*") // mode 0600
	if err != nil {
		return "", nil, err
	}
	path = file.Name()
	remove = func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}
	open := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if _, err := os.Stat(open); err == nil && os.Remove(path) == nil {
		path = open
	}
	if err := sealer.OpenStream(file, source); err != nil {
		remove()
		return "", nil, fmt.Errorf("backup %s cannot be opened: %w", backup, err)
	}
	return path, remove, nil
}

// isSealed reports whether a file is a sealed backup.
func isSealed(name string) bool {
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return false
	}
	defer file.Close()
	return keys.IsSealedStream(file)
}

// restored is the answer of a restore.
type restored struct {
	Database string `json:"database"`
	Restored bool   `json:"restored"`
	// Kept is the name of the old database.
	Kept        string             `json:"kept,omitempty"`
	Differences []store.Difference `json:"differences"`
}

func (o Options) restoreStore(c *call) error {
	database, sealer, backups, err := o.backupSealer(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(database), 0o700); err != nil {
		return err
	}
	current, err := openCurrent(c, database)
	if err != nil {
		return err
	}
	if current != nil {
		defer current.Close()
	}
	if !c.on("unsealed") && !isSealed(c.args[0]) {
		return fmt.Errorf("%s is not sealed, so that its content may be of any author: --unsealed takes it nevertheless, such as a backup of an earlier version", c.args[0])
	}
	plain, err := unseal(c.args[0], backups, database)
	if err != nil {
		return err
	}
	defer os.Remove(plain)
	ctx := c.cmd.Context()
	from, err := openBackup(ctx, plain, sealer)
	if err != nil {
		return fmt.Errorf("backup %s: %w", c.args[0], err)
	}
	defer from.Close()
	result := restored{Database: database, Differences: []store.Difference{}}
	if current != nil {
		if result.Differences, err = store.Differences(ctx, current, from, time.Now()); err != nil {
			c.warn(fmt.Sprintf("warning: what would be lost is not known: %v", err))
		}
	}
	switch text := differencesText(database, current != nil, result.Differences); {
	case c.on("dry-run"):
		return c.print(result, text)
	case !c.on("yes"):
		if err := c.print(result, text); err != nil {
			return err
		}
		return errors.New("nothing was changed: --yes restores the backup")
	default:
		if _, err := os.Stat(database); err == nil {
			result.Kept = database + ".before-restore-" + time.Now().UTC().Format("20060102T150405Z")
		}
		if err := boltengine.Restore(ctx, database, result.Kept, current, from); err != nil {
			return err
		}
		result.Restored = true
		text += line("restored %s from %s", database, c.args[0])
		if result.Kept != "" {
			text += line("the old database is %s: remove it when it is not needed any more", result.Kept)
		}
		return c.print(result, text)
	}
}

// openCurrent opens the database that a restore replaces, and with that locks it. It returns
// nil if there is none, or one that cannot be opened.
func openCurrent(c *call, database string) (*boltengine.Engine, error) {
	if _, err := os.Stat(database); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	current, err := boltengine.Open(database)
	if errors.Is(err, boltengine.ErrInUse) {
		return nil, fmt.Errorf("a server has database %s open: stop it first", database)
	}
	if err != nil {
		c.warn(fmt.Sprintf("warning: what would be lost is not known: %v", err))
		return nil, nil
	}
	return current, nil
}

// openBackup verifies a backup, whether the secret opens its keys too, and opens it.
func openBackup(ctx context.Context, file string, sealer *keys.Sealer) (*boltengine.Engine, error) {
	if err := boltengine.Verify(file, store.CheckRecord); err != nil {
		return nil, err
	}
	from, err := boltengine.Open(file)
	if err != nil {
		return nil, err
	}
	if err := store.NewKeyring(store.New(from, new(policy.Versions), time.Now), sealer).Check(ctx); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return from, nil
}

// differencesText is what a restore loses and opens, what is most dangerous first.
func differencesText(database string, compared bool, differences []store.Difference) string {
	switch {
	case !compared:
		return line("%s has no database that can be compared with the backup", database)
	case len(differences) == 0:
		return line("nothing in %s would change", database)
	}
	var text strings.Builder
	for i := range differences {
		d := &differences[i]
		say := func(n int, one, more string) {
			if n == 1 {
				text.WriteString(line("%s: 1 %s", d.Partition, one))
			} else if n > 1 {
				text.WriteString(line("%s: %d %s", d.Partition, n, more))
			}
		}
		say(d.Reopened, "revoked link would open again", "revoked links would open again")
		say(d.Undenied, "denied key of a publisher would be trusted again", "denied keys of publishers would be trusted again")
		say(d.Links, fmt.Sprintf("counted link would have uses left again: %d in all", d.Uses), fmt.Sprintf("counted links would have uses left again: %d in all", d.Uses))
		for _, kind := range d.Kinds {
			say(kind.Back, "removed "+kind.Kind+" would be there again", "removed records of kind "+kind.Kind+" would be there again")
			say(kind.Lost, kind.Kind+" would be lost", "records of kind "+kind.Kind+" would be lost")
			say(kind.Changed, kind.Kind+" would be as it was before", "records of kind "+kind.Kind+" would be as they were before")
		}
	}
	return text.String()
}
