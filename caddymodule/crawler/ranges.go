package crawler

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// MaxRanges bounds the ranges of one list.
	MaxRanges = 20_000
	// The shortest lengths of a range, in bits: a list with a shorter one is refused as a mistake.
	minBits4, minBits6 = 8, 19
)

// Ranges are the networks of a list. They are immutable.
type Ranges struct {
	networks           map[netip.Prefix]struct{}
	lengths4, lengths6 []int
}

// Len returns the number of ranges.
func (r *Ranges) Len() int { return len(r.networks) }

// Contains reports whether a range has an address: by one lookup for each length that any
// range has. An address that is mapped to IPv6 is one of IPv4, and a zone is of no network.
func (r *Ranges) Contains(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	lengths := r.lengths6
	if address.Is4() {
		lengths = r.lengths4
	}
	for _, bits := range lengths {
		network, err := address.Prefix(bits)
		if err != nil {
			return false
		}
		if _, found := r.networks[network]; found {
			return true
		}
	}
	return false
}

// ParseRanges parses a list: the JSON that Google, Bing and OpenAI publish, an object with
// `prefixes`, of which each has `ipv4Prefix` or `ipv6Prefix`; or text with a range or an address
// in each line, where `#` begins a comment. A list without any range, with too many or with one
// that is no range is refused as a whole: part of a list would turn crawlers away silently.
func ParseRanges(list []byte) (*Ranges, error) {
	texts, err := rangeTexts(list)
	if err != nil {
		return nil, err
	}
	switch {
	case len(texts) == 0:
		return nil, errors.New("the list has no range")
	case len(texts) > MaxRanges:
		return nil, fmt.Errorf("the list has more than %d ranges", MaxRanges)
	}
	ranges := &Ranges{networks: make(map[netip.Prefix]struct{}, len(texts))}
	for _, text := range texts {
		network, err := parseRange(text)
		if err != nil {
			return nil, err
		}
		ranges.networks[network] = struct{}{}
		lengths := &ranges.lengths6
		if network.Addr().Is4() {
			lengths = &ranges.lengths4
		}
		if !slices.Contains(*lengths, network.Bits()) {
			*lengths = append(*lengths, network.Bits())
		}
	}
	return ranges, nil
}

func rangeTexts(list []byte) (texts []string, err error) {
	list = bytes.TrimPrefix(bytes.TrimSpace(list), []byte("\xef\xbb\xbf"))
	if !bytes.HasPrefix(list, []byte("{")) {
		for line := range strings.Lines(string(list)) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				texts = append(texts, line)
			}
			if len(texts) > MaxRanges {
				break
			}
		}
		return texts, nil
	}
	var published struct {
		Prefixes []struct{ IPv4Prefix, IPv6Prefix string }
	}
	if err := json.Unmarshal(list, &published); err != nil {
		return nil, errors.New("the list is no JSON object with prefixes")
	}
	for _, prefix := range published.Prefixes {
		switch {
		case prefix.IPv4Prefix != "":
			texts = append(texts, prefix.IPv4Prefix)
		case prefix.IPv6Prefix != "":
			texts = append(texts, prefix.IPv6Prefix)
		default:
			return nil, errors.New("a prefix of the list has neither ipv4Prefix nor ipv6Prefix")
		}
	}
	return texts, nil
}

// parseRange parses a network in CIDR notation, or one address.
func parseRange(text string) (netip.Prefix, error) {
	shown := text
	if len(shown) > 64 {
		shown = shown[:64]
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		address, single := netip.ParseAddr(text)
		if single != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no range of addresses", shown)
		}
		network = netip.PrefixFrom(address, address.BitLen())
	}
	if network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	if least := map[bool]int{true: minBits4, false: minBits6}[network.Addr().Is4()]; network.Bits() < least || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("the range %s is too large for a crawler: at least /%d", shown, least)
	}
	return network.Masked(), nil
}
