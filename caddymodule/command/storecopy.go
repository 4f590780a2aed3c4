package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
)

// StoreLocation is where a store is, as a command line names it.
type StoreLocation struct {
	// Name is the file of an embedded database, the URLs of a Redis separated by
	// commas, or a placeholder that stands for these URLs.
	Name string
	// Prefix begins the names of all keys in a Redis.
	Prefix string
	// Authority and ServerName are for a Redis over TLS, as in StoreTLS.
	Authority, ServerName string
}

// copyCommand copies one store into another.
func (o Options) copyCommand() *cobra.Command {
	var from StoreLocation
	var replace bool
	cmd := &cobra.Command{
		Use: "copy <from> <to>", Short: "Copies all records from one store into another, and compares them", Args: cobra.ExactArgs(2), SilenceUsage: true,
		Long: `
Copies all records from one store into another, and then compares all of both.

A store is the file of an embedded database, or the URLs of a Redis with commas
between them; {env.NAME} or {file./path} stand for one that holds a password. Stop
the servers that use either. A copy that was broken off goes on where it was when
it is begun again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to := from
			from.Name, to.Name = args[0], args[1]
			return o.copyStore(cmd.Context(), cmd.OutOrStdout(), from, to, replace)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&replace, "replace", false, "remove from the target what the source does not have")
	flags.StringVar(&from.Prefix, "prefix", "", "what begins the names of all keys in the Redis (default gatefold)")
	flags.StringVar(&from.Authority, "authority", "", "file with the certificates of the authorities to trust")
	flags.StringVar(&from.ServerName, "server-name", "", "name that the certificate of the Redis must have")
	return cmd
}

func (o Options) copyStore(ctx context.Context, out io.Writer, from, to StoreLocation, replace bool) (err error) {
	if from == to {
		return errors.New("the two stores are the same")
	}
	source, err := o.OpenStore(ctx, from, true)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := o.OpenStore(ctx, to, false)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	copied, err := store.Copy(ctx, source, target, store.CopyOptions{
		Replace: replace,
		Progress: func(partition string, seen, written int64) {
			if seen%100_000 == 0 && seen > 0 {
				fmt.Fprintf(out, "%s: %d entries, %d of them written\n", printable(partition), seen, written)
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d entries of %d partitions are the same in both: %d written, %d removed; SHA-256 %s\n",
		copied.Entries, copied.Partitions, copied.Written, copied.Removed, copied.Digest)
	return nil
}
