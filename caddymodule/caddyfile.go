package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/setting"
)

// An option is a line of a Caddyfile block, with the block that it may open.
type option struct {
	name string
	// parse reads the option. The dispenser is at the option's name.
	parse func(d *caddyfile.Dispenser) error
	// repeatable options may be given more than once.
	repeatable bool
	// retired options only fail. Errors do not list them among the known ones.
	retired bool
}

// repeated returns the option as a repeatable one.
func (o option) repeated() option {
	o.repeatable = true
	return o
}

// optionSet holds the options of a block that are implemented in several files.
// Each file registers its own in an init function.
type optionSet[T any] []func(target *T) []option

// register adds options, which set fields of the target.
func (s *optionSet[T]) register(options func(target *T) []option) {
	*s = append(*s, options)
}

// of returns all options in the order of registration.
func (s optionSet[T]) of(target *T) (all []option) {
	for _, options := range s {
		all = append(all, options(target)...)
	}
	return all
}

// parseBlock reads a block of options, which may be absent. The arguments before
// the block must be consumed; errors name the block unless its name is empty.
func parseBlock(d *caddyfile.Dispenser, block string, options ...option) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if block != "" {
		block += ": "
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		switch {
		case i < 0:
			return d.Errf("%sunknown option %q; %s", block, name, knownOptions(options))
		case seen[name] && !options[i].repeatable:
			return d.Errf("%s%s is given twice", block, name)
		}
		seen[name] = true
		if err := options[i].parse(d); err != nil {
			return err
		}
	}
	return nil
}

func knownOptions(options []option) string {
	var names []string
	for _, option := range options {
		if !option.retired {
			names = append(names, option.name)
		}
	}
	if names == nil {
		return "it takes none"
	}
	return "known are " + strings.Join(names, ", ")
}

// renamedOption refuses the former name of an option.
func renamedOption(name, now string) option {
	return option{name: name, retired: true, parse: func(d *caddyfile.Dispenser) error {
		return d.Errf("%s is now %s", name, now)
	}}
}

// valuesOption is an option with at least one argument. It passes each to set, whose
// error completes `<name>: "<value>" …`.
func valuesOption(name string, set func(value string) error) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		values := d.RemainingArgs()
		if len(values) == 0 {
			return d.ArgErr()
		}
		for _, value := range values {
			if err := set(value); err != nil {
				return d.Errf("%s: %q %v", name, value, err)
			}
		}
		return nil
	}}
}

// listOption is an option with at least one argument, each of which passes the check
// unless that is nil or the argument has a placeholder, whose value is checked when the
// module is provisioned.
func listOption(name string, to *[]string, check func(value string) error) option {
	return valuesOption(name, func(value string) error {
		*to = append(*to, value)
		if check == nil || setting.Has(value) {
			return nil
		}
		return check(value)
	})
}

// valueOption is an option with one argument, see valuesOption.
func valueOption(name string, set func(value string) error) option {
	values := valuesOption(name, set)
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() != 1 {
			return d.ArgErr()
		}
		return values.parse(d)
	}}
}

// textOption is an option with one argument of any text.
func textOption(name string, to *string) option {
	return valueOption(name, func(value string) error {
		*to = value
		return nil
	})
}

// matchOption is an option with one argument that matches a pattern, which want
// describes, or has a placeholder, see listOption.
func matchOption(name string, to *string, pattern *regexp.Regexp, want string) option {
	return valueOption(name, func(value string) error {
		if !setting.Has(value) && !pattern.MatchString(value) {
			return errors.New("must be " + want)
		}
		*to = value
		return nil
	})
}

// countOption is an option with one argument, a number above zero.
func countOption(name string, to *setting.Count) option { return valueOption(name, to.Set) }

// durationOption is an option with one argument, a duration within bounds. Without
// a lower bound it must be above zero; a zero most is no upper bound.
func durationOption(name string, to *setting.Duration, least, most time.Duration) option {
	return valueOption(name, func(value string) error {
		err := to.Set(value)
		if to.Deferred() || err == nil && to.V >= least && (most == 0 || to.V <= most) {
			return nil
		}
		return errDuration(least, most)
	})
}

// secretOption is an option with one argument, a placeholder for a secret. Its error
// does not repeat the argument, which may be the secret itself.
func secretOption(name string, to *string) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
		if !isSecretPlaceholder(*to) {
			return d.Errf("%s: write {env.NAME} or {file./path}: a configuration must not hold the secret itself", name)
		}
		return nil
	}}
}

// flagOption is an option without an argument.
func flagOption(name string, to *bool) option {
	return option{name: name, parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*to = true
		return nil
	}}
}

// errDuration is the error of a duration outside of the bounds of durationOption.
func errDuration(least, most time.Duration) error {
	bounds, examples := "above zero", "500ms, 30s or 24h"
	switch {
	case most > 0:
		bounds = fmt.Sprintf("from %v to %v", least, most)
	case least > 0:
		bounds = fmt.Sprintf("of at least %v", least)
	}
	if least >= time.Second {
		examples = "30s or 24h"
	}
	return fmt.Errorf("must be a duration %s, such as %s", bounds, examples)
}
