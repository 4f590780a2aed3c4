package command

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const (
	maxImportBatch      = 5000 // rows
	maxImportBatchBytes = 8 << 20
	progressEvery       = 5 * time.Second
)

func importCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "import <file>", "Creates and changes grants by the rows of a CSV or NDJSON file; if interrupted, run it again to resume", cobra.MaximumNArgs(1), importGrants)
	cmd.Long = importHelp()
	flags := cmd.Flags()
	flags.String("format", "", "csv or ndjson (default: by the extension of the file)")
	flags.String("import-id", "", "name of the import (default: derived from the content of the file; required for standard input, -)")
	flags.Int("batch", maxImportBatch, "number of rows per request")
	flags.Bool("replace-list", false, "remove the grants of the list that the file does not have, after all rows are imported")
	flags.Bool("dry-run", false, "print what would change, and change nothing")
	flags.String("undo", "", "undo the import of this name, instead of importing a file")
	cmd.MarkFlagsMutuallyExclusive("undo", "dry-run")
	cmd.MarkFlagsMutuallyExclusive("undo", "replace-list")
	cmd.MarkFlagsMutuallyExclusive("undo", "import-id")
}

// importHelp describes the files that can be imported.
func importHelp() string {
	return `Creates and changes grants by the rows of a CSV or NDJSON file.

A row changes the grant of the list that has its key: the publisherPurchaseId or, without
one, the reader (userId, publisherUserId or email, the first that the row has) and the sku.
If no grant has that key, the row creates one. So a corrected file can be imported again.
A row without a status leaves that of the grant, and one without endsAt or startsAt leaves its
end and its start in the future. Null or an empty field removes these times if the row has a
status.

The first line of a CSV file names its columns, in any order:
  ` + strings.ReplaceAll(strings.Join(admin.GrantColumns(), ", "), ", deliveryAddress", ",\n  deliveryAddress") + `
sku is required, and one of userId, publisherUserId and email. Fields are separated by
commas, and the file is UTF-8. startsAt is included, endsAt is the first moment after the
grant; both are RFC 3339 times, or dates, which mean the first moment of the day in UTC.
Of an NDJSON file each line is a JSON object with these members.

Rows that are refused are printed with their line, and do not stop the others; with
--replace-list nothing is removed then.`
}

// grantImport is an import in progress. It holds one batch in memory, whatever the
// size of the file.
type grantImport struct {
	*call
	id       string
	given    bool // by the caller, who means this import alone
	size     int  // rows per batch
	replace  bool
	dry      bool
	position int64
	counts   admin.ImportCounts
	removed  int64
	failed   int64
	unread   int64            // rows that could not be read and were not sent
	skip     int64            // rows of the file that the server has stored already
	refused  map[int64]string // errors of the last stored batch, by position, to report when its rows are skipped

	rows  []json.RawMessage // the batch
	lines []int
	bytes int

	began, reported time.Time
	sent            int64
	progress        *progress
	shown           int // changes of a dry run that were printed
}

func importGrants(c *call) error {
	// On Ctrl-C a request may be under way. Its outcome is known to the server.
	ctx, stop := signal.NotifyContext(c.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.cmd.SetContext(ctx)
	if id := c.text("undo"); id != "" {
		if len(c.args) > 0 {
			return errors.New("--undo: takes the name of an import, and no file")
		}
		return c.undo(c.grantsPath() + "/imports/" + url.PathEscape(id) + "/undo")
	}
	if len(c.args) == 0 {
		return errors.New("give the file to import; - is standard input")
	}
	format, err := fileFormat(c.args[0], c.text("format"))
	if err != nil {
		return err
	}
	i := &grantImport{call: c, began: time.Now(), replace: c.on("replace-list"), dry: c.on("dry-run")}
	i.reported = i.began
	if i.size, _ = c.cmd.Flags().GetInt("batch"); i.size < 1 || i.size > maxImportBatch {
		return fmt.Errorf("--batch: must be 1 to %d", maxImportBatch)
	}
	file, err := i.open(c.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	if err := i.begin(); err != nil {
		return err
	}
	i.progress = newProgress(c.cmd.ErrOrStderr(), file, i.began)
	err = i.run(i.progress.reader, format)
	if err == nil {
		err = i.finish()
	}
	i.progress.clear()
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		if i.dry || i.position == 0 && ctx.Err() == nil {
			return err
		}
		return fmt.Errorf("%w; %d rows are done: run the same command again to resume", err, i.position)
	}
	return i.summary()
}

func fileFormat(name, format string) (string, error) {
	if format == "" {
		switch strings.ToLower(filepath.Ext(name)) {
		case ".csv":
			format = admin.FormatCSV
		case ".ndjson", ".jsonl":
			format = admin.FormatNDJSON
		}
	}
	if format != admin.FormatCSV && format != admin.FormatNDJSON {
		return "", errors.New("--format: must be csv or ndjson")
	}
	return format, nil
}

// open opens the file and sets the id of the import, by default to a digest of the
// file.
func (i *grantImport) open(name string) (io.ReadCloser, error) {
	i.id = i.text("import-id")
	i.given = i.id != ""
	if name == "-" {
		if i.id == "" && !i.dry {
			return nil, errors.New("--import-id is required for an import from standard input")
		}
		return io.NopCloser(i.cmd.InOrStdin()), nil
	}
	file, err := os.Open(name)
	if err != nil || i.id != "" {
		return file, err
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", name, err), file.Close())
	}
	i.id = "file-" + hex.EncodeToString(digest.Sum(nil))
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// maxRepeats bounds how often one file is imported within the time for which the server
// remembers an import.
const maxRepeats = 1000

// begin resumes the import of this file that is not finished, or begins one: a file can
// be imported again after it was changed by another one.
func (i *grantImport) begin() error {
	if i.dry {
		i.id = "dry-run"
		return nil
	}
	first := i.id
	for n := 2; n <= maxRepeats; n++ {
		state, err := i.resume()
		if err != nil {
			return err
		}
		over := state.Finished || state.Undone != nil
		if i.given && over {
			// Its rows would be skipped, though the file may be another by now.
			return fmt.Errorf("--import-id: an import %s was made already: choose another name for each file, or leave the flag out", i.id)
		}
		if !over {
			if i.skip > 0 {
				i.warn(fmt.Sprintf("resuming after row %d", i.position))
			}
			return nil
		}
		i.id, i.position, i.skip = fmt.Sprintf("%s.%d", first, n), 0, 0
		i.counts, i.failed, i.refused = admin.ImportCounts{}, 0, nil
	}
	return errors.New("the file was imported too often within 30 days: choose a name with --import-id")
}

// resume asks the server for the position of the import, and skips the rows before
// it.
func (i *grantImport) resume() (state admin.ImportState, err error) {
	status, answer, err := i.send(http.MethodGet, i.grantsPath()+"/imports/"+url.PathEscape(i.id), nil, nil)
	switch {
	case err != nil:
		return state, err
	case status == http.StatusNotFound:
		return state, nil
	case status != http.StatusOK:
		return state, answerError(status, answer)
	}
	if err := decode(answer, &state); err != nil {
		return state, err
	}
	i.skip = state.Position - i.position
	i.position, i.counts, i.failed = state.Position, state.ImportCounts, state.Failed
	i.refused = make(map[int64]string, len(state.Last.Errors))
	for _, e := range state.Last.Errors {
		i.refused[state.Last.Position+int64(e.Row)] = rowErrorText(e)
	}
	return state, nil
}

func rowErrorText(e admin.RowError) string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// skipRow reports whether the server has stored the next row already. The answer
// to the last stored batch may have been lost, so its errors are printed again.
func (i *grantImport) skipRow(line int) bool {
	if i.skip <= 0 {
		return false
	}
	if problem, refused := i.refused[i.position-i.skip]; refused {
		i.report(line, problem)
	}
	i.skip--
	return true
}

// report prints why a row was not imported.
func (i *grantImport) report(line int, problem string) {
	i.progress.clear()
	i.warn(fmt.Sprintf("line %d: %s", line, problem))
}

func (i *grantImport) run(file io.Reader, format string) error {
	for row, err := range admin.ReadGrants(file, format) {
		if err != nil {
			return err
		}
		if row.Err != nil {
			i.report(row.Line, row.Err.Error())
			i.unread++
			continue
		}
		if i.skipRow(row.Line) {
			continue
		}
		if i.bytes+len(row.Value) > maxImportBatchBytes {
			if err := i.flush(); err != nil {
				return err
			}
		}
		i.rows, i.lines, i.bytes = append(i.rows, row.Value), append(i.lines, row.Line), i.bytes+len(row.Value)
		if len(i.rows) == i.size {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
	return i.flush()
}

// flush sends the batch.
func (i *grantImport) flush() error {
	if len(i.rows) == 0 {
		return nil
	}
	batch := map[string]any{"importId": i.id, "position": i.position, "grants": i.rows}
	if i.dry {
		batch["dryRun"] = true
	}
	status, answer, err := i.send(http.MethodPost, i.grantsPath()+"/batch", nil, batch)
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict && !i.dry:
		if err := i.catchUp(); err != nil {
			return errors.Join(answerError(status, answer), err)
		}
		return i.flush()
	case status == http.StatusNotFound:
		return fmt.Errorf("--list: there is no access list %s", i.text("list"))
	case status >= http.StatusBadRequest:
		return answerError(status, answer)
	}
	var result admin.ImportResult
	if err := decode(answer, &result); err != nil {
		return err
	}
	for _, e := range result.Errors {
		if e.Row >= 0 && e.Row < len(i.lines) {
			i.report(i.lines[e.Row], rowErrorText(e))
		}
	}
	i.showChanges(result.Changes)
	i.position, i.failed = result.Position, i.failed+int64(len(result.Errors))
	i.counts.Created += result.Created
	i.counts.Changed += result.Changed
	i.counts.Unchanged += result.Unchanged
	i.sent += int64(len(i.rows))
	i.rows, i.lines, i.bytes = i.rows[:0], i.lines[:0], 0
	if i.progress.draw(i.position, i.sent) {
		return nil
	}
	if now := time.Now(); now.Sub(i.reported) >= progressEvery {
		i.reported = now
		i.warn(fmt.Sprintf("%d rows, %.0f per second", i.position, float64(i.sent)/now.Sub(i.began).Seconds()))
	}
	return nil
}

// catchUp drops the rows of the batch that the server has stored in the meantime,
// for an earlier run of this import whose last request was still under way when
// this run started.
func (i *grantImport) catchUp() error {
	before := i.position
	if _, err := i.resume(); err != nil {
		return err
	}
	if i.skip > 0 {
		i.progress.clear()
		i.warn(fmt.Sprintf("resuming after row %d", i.position))
	}
	if i.position <= before {
		i.skip = 0
		return errors.New("the server's position of the import has not changed")
	}
	for len(i.rows) > 0 && i.skipRow(i.lines[0]) {
		i.bytes -= len(i.rows[0])
		i.rows, i.lines = i.rows[1:], i.lines[1:]
	}
	return nil
}

// maxShownChanges bounds the changes that a dry run prints.
const maxShownChanges = 100

// showChanges prints the changes of a dry run.
func (i *grantImport) showChanges(changes []admin.RowChange) {
	for _, change := range changes {
		switch i.shown++; {
		case i.shown > maxShownChanges+1:
		case i.shown > maxShownChanges:
			i.report(i.lines[change.Row], "and the following: more changes are not shown")
		default:
			i.report(i.lines[change.Row], "would change "+strings.Join(change.Fields, ", ")+" of "+change.Grant)
		}
	}
}

// finish ends the import, and removes what the file does not have.
func (i *grantImport) finish() error {
	body := admin.FinishBody{ReplaceList: i.replace && i.failed+i.unread == 0, DryRun: i.dry, Kept: i.counts.Changed + i.counts.Unchanged}
	if i.position == 0 {
		if body.ReplaceList {
			return errors.New("the file has no rows, and nothing was removed: to remove all grants of the list, use grant remove --list")
		}
		return nil
	}
	for {
		var state admin.ImportState
		if err := i.request(http.MethodPost, i.grantsPath()+"/imports/"+url.PathEscape(i.id)+"/finish", nil, body, &state); err != nil {
			return err
		}
		if i.removed = state.Removed; state.Finished {
			return nil
		}
	}
}

func (i *grantImport) summary() error {
	failed := i.failed + i.unread
	text := line("created %d grants, changed %d, left %d unchanged, removed %d", i.counts.Created, i.counts.Changed, i.counts.Unchanged, i.removed)
	switch {
	case i.dry:
		text = line("would create %d grants, change %d, leave %d unchanged, remove %d; nothing was changed", i.counts.Created, i.counts.Changed, i.counts.Unchanged, i.removed)
	case i.counts.Created+i.counts.Changed+i.removed > 0:
		list := ""
		if i.changed("list") {
			list = " --list " + i.text("list")
		}
		text += line("to undo: gatefold grant import --undo %s%s", i.id, list)
	}
	err := i.print(map[string]any{
		"importId": i.id, "created": i.counts.Created, "changed": i.counts.Changed, "unchanged": i.counts.Unchanged,
		"removed": i.removed, "failed": failed, "dryRun": i.dry,
	}, text)
	if failed == 0 {
		return err
	}
	problem := fmt.Errorf("%d rows were not imported", failed)
	if i.replace {
		problem = fmt.Errorf("%w, so that no grant was removed: correct them, and import the file again", problem)
	}
	return errors.Join(err, problem)
}
