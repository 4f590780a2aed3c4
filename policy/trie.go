package policy

import (
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
)

// trie finds rules by the segments of their templates.
//
// Nodes stand one behind the other in the order in which rules bring them, so
// that those of one path are neighbours in memory. Below a node that has several
// literals, the next node is found in one table for all of them: so a lookup
// takes the same steps, through as little memory, whether there are ten rules or
// ten thousand.
type trie struct {
	seed  uint64
	nodes []node // the root is the first
	// table is addressed openly, and at most half full. An entry is zero, or a
	// part of the hash and the number of a node.
	table  []uint64
	filled int
	// methods holds, for nodes that have it, the first rule by each method that
	// a rule there names.
	methods []map[string]int32
}

// node is one segment of the trie, in 64 bytes.
type node struct {
	// literal is the segment, empty for the root and for what is captured; words
	// tell it from others that are no longer than 16 bytes.
	literal string
	ends    segmentEnds
	// any is the index of the first rule that ends here and takes all methods;
	// rules are numbered in rank order.
	any int32
	// lowest is the lowest rule index here and below.
	lowest int32
	parent int32
	// only is the node below that has a literal, if there is one, or
	// severalNodes; capture is the node below that captures.
	only, capture int32
	// methods is one more than an index into the trie's methods; zero for none.
	methods int32

	_ [8]byte
}

const (
	noRule int32 = math.MaxInt32
	// noNode stands for no node, since nothing leads to the root.
	noNode       int32 = 0
	severalNodes int32 = -1
)

// words are two words that, with its length, say all of a text of 16 bytes or
// less. Texts that are longer have the same if they begin and end alike.
type segmentEnds struct{ first, last uint64 }

func endsOf(text string) segmentEnds {
	switch n := len(text); {
	case n >= 8:
		return segmentEnds{load64(text), load64(text[n-8:])}
	case n >= 4:
		return segmentEnds{uint64(load32(text)), uint64(load32(text[n-4:]))}
	case n > 0:
		return segmentEnds{uint64(text[0]) | uint64(text[n/2])<<8, uint64(text[n-1])}
	default:
		return segmentEnds{}
	}
}

func load32(s string) uint32 {
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// is says whether a node's literal is a text, whose words are given.
func (n *node) is(text string, w segmentEnds) bool {
	return n.ends == w && len(n.literal) == len(text) && (len(text) <= 16 || n.literal == text)
}

// newTrie returns a trie with room for about as many rules.
func newTrie(rules int) trie {
	//nolint:gosec // G404: names are the publisher's own; that they stand elsewhere in each process is enough
	t := trie{seed: rand.Uint64(), nodes: make([]node, 0, 1+2*rules), table: make([]uint64, 16)}
	t.add(noNode, "")
	return t
}

func (t *trie) add(parent int32, literal string) int32 {
	t.nodes = append(t.nodes, node{literal: literal, ends: endsOf(literal), parent: parent, any: noRule, lowest: noRule})
	return int32(len(t.nodes) - 1) //nolint:gosec // a path has at most 512 segments, and memory ends before that
}

func (t *trie) insert(rule *compiledRule, index int32) {
	at := int32(0)
	t.nodes[at].lowest = min(t.nodes[at].lowest, index)
	for _, part := range rule.segments {
		at = t.child(at, part)
		t.nodes[at].lowest = min(t.nodes[at].lowest, index)
	}
	n := &t.nodes[at]
	if len(rule.Methods) == 0 {
		n.any = min(n.any, index)
		return
	}
	if n.methods == 0 {
		t.methods = append(t.methods, make(map[string]int32))
		n.methods = int32(len(t.methods)) //nolint:gosec // at most one a node
	}
	first := t.methods[n.methods-1]
	for _, method := range rule.Methods {
		if _, taken := first[method]; !taken && method != http.MethodHead { // judged as GET
			first[method] = index
		}
	}
}

// child returns the node below another for a segment, and makes it where it is
// not there yet.
func (t *trie) child(at int32, part segment) int32 {
	if part.capture != "" {
		if t.nodes[at].capture == noNode {
			next := t.add(at, "")
			t.nodes[at].capture = next
		}
		return t.nodes[at].capture
	}
	if next := t.literal(at, part.literal); next != noNode {
		return next
	}
	next := t.add(at, part.literal)
	switch only := t.nodes[at].only; only {
	case noNode:
		t.nodes[at].only = next
	case severalNodes:
		t.put(next)
	default:
		t.nodes[at].only = severalNodes
		t.put(only)
		t.put(next)
	}
	return next
}

// literal returns the node below another that has a literal, or noNode.
func (t *trie) literal(at int32, literal string) int32 {
	next := t.nodes[at].only
	if next == noNode {
		return noNode
	}
	w := endsOf(literal)
	if next == severalNodes {
		return t.find(at, literal, w)
	}
	if t.nodes[next].is(literal, w) {
		return next
	}
	return noNode
}

// hash is of what tells nearly all nodes apart.
func (t *trie) hash(parent int32, w segmentEnds) uint64 {
	return mix(mix(t.seed^uint64(uint32(parent)), w.first), w.last) //nolint:gosec // a number
}

// find returns a node among several.
func (t *trie) find(parent int32, literal string, w segmentEnds) int32 {
	hash, table := t.hash(parent, w), t.table
	for i := hash; ; i++ {
		entry := table[i&uint64(len(table)-1)]
		if entry == 0 {
			return noNode
		}
		if entry>>32 == hash>>32 {
			next := int32(uint32(entry)) //nolint:gosec // as it was put in
			if n := &t.nodes[next]; n.parent == parent && n.is(literal, w) {
				return next
			}
		}
	}
}

// put enters a node into the table.
func (t *trie) put(at int32) {
	if 2*(t.filled+1) > len(t.table) {
		old := t.table
		t.table, t.filled = make([]uint64, 2*len(old)), 0
		for _, entry := range old {
			if entry != 0 {
				t.put(int32(uint32(entry))) //nolint:gosec // as it was put in
			}
		}
	}
	n := &t.nodes[at]
	hash := t.hash(n.parent, n.ends)
	last := uint64(len(t.table) - 1)
	i := hash & last
	for t.table[i] != 0 {
		i = (i + 1) & last
	}
	t.table[i] = hash>>32<<32 | uint64(uint32(at)) //nolint:gosec // a number
	t.filled++
}

// candidates lists the rules that decide at a node for some method.
func (t *trie) candidates(n *node) []int32 {
	var list []int32
	if n.any != noRule {
		list = append(list, n.any)
	}
	if n.methods != 0 {
		list = slices.AppendSeq(list, maps.Values(t.methods[n.methods-1]))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// walk returns the first rule for a path that is better than the best so far, of
// those at a node and below; and how many nodes were looked at, which is what a
// lookup costs, on whatever machine.
func (t *trie) walk(at int32, segments []string, method string, best int32, looked int) (int32, int) {
	for {
		n := &t.nodes[at]
		looked++
		best = min(best, n.any)
		if n.methods != 0 {
			if index, ok := t.methods[n.methods-1][method]; ok {
				best = min(best, index)
			}
		}
		if len(segments) == 0 {
			return best, looked
		}
		next, capture := n.only, n.capture
		if next != noNode {
			w := endsOf(segments[0])
			if next == severalNodes {
				next = t.find(at, segments[0], w)
			} else if !t.nodes[next].is(segments[0], w) {
				next = noNode
			}
		}
		segments = segments[1:]
		if next != noNode && capture != noNode {
			// Both branches: the one that may hold the better rank first, so
			// that the other is more often left out.
			if t.nodes[capture].lowest < t.nodes[next].lowest {
				next, capture = capture, next
			}
			if t.nodes[next].lowest < best {
				best, looked = t.walk(next, segments, method, best, looked)
			}
			next = noNode
		}
		if at = next | capture; at == noNode || t.nodes[at].lowest >= best {
			return best, looked
		}
	}
}
