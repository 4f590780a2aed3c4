package openstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gatefold/gatefold/caddymodule/nodestate"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/policy/store/nodefile"
)

// BackupConfig configures backups that the server makes by itself, of an embedded database.
type BackupConfig struct {
	// Directory is where the backups are put; it is made with mode 0700. Another disk than
	// the database's survives that of the database. Two servers must not share it.
	Directory string `json:"directory"`
	// Every is the interval, from 1 minute to 31 days. Default: 24 hours.
	Every setting.Duration `json:"every,omitzero"`
	// Keep is how many of the newest backups are kept, at most 1,000. Default: 14.
	Keep setting.Count `json:"keep,omitzero"`
}

const (
	defaultBackupEvery = 24 * time.Hour
	minBackupEvery     = time.Minute
	maxBackupEvery     = 31 * 24 * time.Hour
	defaultBackupKeep  = 14
	maxBackupKeep      = 1000

	// The name of a backup has the time at which it was begun, in UTC. One that is not
	// complete has another name.
	backupPrefix, backupSuffix = "gatefold-", ".backup"
	backupTime                 = "20060102T150405Z"
	backupPartial              = ".gatefold-backup-"
)

// backupLook is how often it is looked whether a backup is due.
const backupLook = 10 * time.Second

// Provision sets the defaults, and checks the configuration.
func (c *BackupConfig) Provision(engine string) error {
	if c.Every.V == 0 {
		c.Every.V = defaultBackupEvery
	}
	if c.Keep.V == 0 {
		c.Keep.V = defaultBackupKeep
	}
	switch {
	case engine != Bolt:
		return errors.New("backup is for the engine bolt: a Redis has backups of its own")
	case c.Directory == "":
		return errors.New("backup: the directory is missing: write `backup <directory> every 6h keep 14`")
	case c.Every.V < minBackupEvery || c.Every.V > maxBackupEvery:
		return errors.New("backup: every must be from 1m to 744h")
	case c.Keep.V < 1 || c.Keep.V > maxBackupKeep:
		return fmt.Errorf("backup: keep must be a number of backups from 1 to %d", maxBackupKeep)
	}
	var err error
	c.Directory, err = filepath.Abs(c.Directory)
	return err
}

// backups makes the backups of one configuration. It is safe for concurrent use.
type backups struct {
	config  BackupConfig
	store   *Opened
	started time.Time

	mu     sync.Mutex
	newest time.Time // zero for none
	failed error     // of the last attempt
}

// MakeBackups makes the backups of a configuration until ctx ends: none if it is nil.
func (o *Opened) MakeBackups(ctx context.Context, config *BackupConfig) {
	if config == nil {
		o.backups.Store(nil)
		return
	}
	made := &backups{config: *config, store: o, started: o.options.Now()}
	o.backups.Store(made)
	go made.run(ctx)
}

// run makes a backup whenever one is due, until ctx ends. The newest one in the directory
// counts, whichever process made it.
func (b *backups) run(ctx context.Context) {
	ticker := time.NewTicker(b.store.options.BackupLook)
	defer ticker.Stop()
	for {
		b.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look makes a backup if one is due.
func (b *backups) look(ctx context.Context) {
	at := b.store.options.Now()
	newest, err := b.find(at)
	if due := newest.Add(b.config.Every.V); err == nil && (newest.IsZero() || !at.Before(due)) {
		var file string
		if file, err = b.make(ctx, at); err == nil {
			newest = at
			storeLog().Info("made a backup", zap.String("file", file))
			err = b.prune()
		}
	}
	if ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.failed == nil {
		storeLog().Error("a backup failed; it is tried again", zap.String("directory", b.config.Directory), zap.Error(err))
	}
	if !newest.IsZero() || err == nil { // a folder that cannot be read may have one
		b.newest = newest
	}
	b.failed = err
}

// find returns the time of the newest backup, zero for none. One with a name of the future was
// made while the clock was wrong, and does not count.
func (b *backups) find(at time.Time) (newest time.Time, err error) {
	if err := os.MkdirAll(b.config.Directory, 0o700); err != nil {
		return newest, err
	}
	names, err := b.list()
	for _, name := range names {
		if made, _ := backupMoment(name); !made.After(at.Add(time.Minute)) {
			newest = made
		}
	}
	return newest, err
}

// list returns the names of the backups, the oldest first.
func (b *backups) list() (names []string, err error) {
	entries, err := os.ReadDir(b.config.Directory) // sorted
	for _, entry := range entries {
		if _, ok := backupMoment(entry.Name()); ok && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// backupMoment returns the time in the name of a backup.
func backupMoment(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(name, backupPrefix)
	text, long := strings.CutSuffix(text, backupSuffix)
	at, err := time.Parse(backupTime, text)
	return at, ok && long && err == nil
}

// make writes a sealed backup, verifies what it wrote, and gives it its name.
func (b *backups) make(ctx context.Context, at time.Time) (string, error) {
	file, err := os.CreateTemp(b.config.Directory, backupPartial) // mode 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	digest, _, err := b.store.SealedBackup(ctx, file)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", err
	}
	if err := b.store.checkSealed(file.Name(), digest); err != nil {
		return "", err
	}
	name := filepath.Join(b.config.Directory, backupPrefix+at.UTC().Format(backupTime)+backupSuffix)
	if err := os.Rename(file.Name(), name); err != nil {
		return "", err
	}
	return name, nodefile.SyncFolder(name)
}

// prune removes the backups that are not kept, and what an interrupted one left.
func (b *backups) prune() error {
	names, err := b.list()
	if err != nil {
		return err
	}
	names = names[:max(0, len(names)-b.config.Keep.V)]
	if entries, err := os.ReadDir(b.config.Directory); err == nil {
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), backupPartial) {
				names = append(names, entry.Name())
			}
		}
	}
	var failed []error
	for _, name := range names {
		failed = append(failed, os.Remove(filepath.Join(b.config.Directory, name)))
	}
	return errors.Join(failed...)
}

// state returns the state of the backups for the conditions of the node.
func (b *backups) state() *nodestate.Backups {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &nodestate.Backups{Directory: b.config.Directory, Every: b.config.Every.V, Since: b.started, Newest: b.newest, Failed: b.failed}
}

// backupState returns the state of the backups, nil without any.
func (s *Shared) backupState() *nodestate.Backups {
	if made := s.backups.Load(); made != nil {
		return made.state()
	}
	return nil
}

// BackupAge returns how old the newest backup is. It reports whether there is one.
func (s *Shared) BackupAge() (age time.Duration, known bool) {
	state := s.backupState()
	if state == nil || state.Newest.IsZero() {
		return 0, false
	}
	return s.options.Now().Sub(state.Newest), true
}
