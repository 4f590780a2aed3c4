package command

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
)

// StoreLocation is the location of a store on a command line.
type StoreLocation struct {
	// Name is the file of an embedded database, the URLs of a Redis separated by
	// commas, or a placeholder that holds these URLs.
	Name string
	// Prefix is the prefix of all keys in a Redis.
	Prefix string
	// Authority is a PEM file with the certificate authorities to trust, and
	// ServerName the name in the certificate of a Redis. Both are for TLS.
	Authority, ServerName string
}

func (o Options) copyCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "copy <from> <to>", "Copies all records from one store to another and compares them", cobra.ExactArgs(2), o.copyStore)
	cmd.Long = `
Copies all records from one store to another, and then compares the two stores.

A store is the file of an embedded database, or the URLs of a Redis separated by
commas; use {env.NAME} or {file./path} for URLs with a password. Stop the servers
that use either store first. An interrupted copy resumes when it is started again.
`
	flags := cmd.Flags()
	flags.Bool("replace", false, "remove from the target what the source does not have")
	flags.String("prefix", "", "prefix of all keys in the Redis (default gatefold)")
	flags.String("authority", "", "PEM file with the certificate authorities to trust")
	flags.String("server-name", "", "name in the certificate of the Redis")
}

func (o Options) copyStore(c *call) (err error) {
	ctx, from, to := c.cmd.Context(), c.args[0], c.args[1]
	if from == to {
		return errors.New("the two stores are the same")
	}
	location := StoreLocation{Name: from, Prefix: c.text("prefix"), Authority: c.text("authority"), ServerName: c.text("server-name")}
	source, err := o.OpenStore(ctx, location, true)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	location.Name = to
	target, err := o.OpenStore(ctx, location, false)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	copied, err := store.Copy(ctx, source, target, store.CopyOptions{
		Replace: c.on("replace"),
		Progress: func(partition string, seen, written int64) {
			if seen%100_000 == 0 && seen > 0 {
				_, _ = io.WriteString(c.out, line("%s: %d entries, %d of them written", partition, seen, written))
			}
		},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%d entries of %d partitions are the same in both: %d written, %d removed; SHA-256 %s\n",
		copied.Entries, copied.Partitions, copied.Written, copied.Removed, copied.Digest)
	return err
}
