-- Counts uses of many callers: batches that only count one counter with an idempotency
-- key (marker). Each use is counted or refused by itself, as if they were run one after
-- the other. Uses with the same counter, bound, expiry and checks are one subject, which
-- is evaluated once; and the script runs few commands with many keys, instead of several
-- for each use.
--
-- ARGV, after those of all scripts that write: of each subject its counter, bound and expiry,
-- its number of checks and of each the key and whether it must be present, its number of
-- uses and of each the marker and its value.
--
-- Returns {position, outcomes, counts, error, generation, revision, id}. There is one outcome for each use, in
-- the order of ARGV: '+' counted, '=' counted before, 'b' at its bound, 't' not a
-- counter, 'm' no memory (see error), 'l' the partition lost writes, 'd' too late, or a digit: the check
-- that failed.
-- The counts have the value of each subject's counter before its first use.
local id, again, acknowledged = ARGV[1], ARGV[2] == '1', ARGV[3] == '1'

local function answer(position, outcomes, counts, refusal) 
	return {position, outcomes, counts, refusal or '', number(generation), number(revision), recorded and id or ''}
end

compare()

if again then
	local before = earlier(id)
	if before then
		local touched = acknowledged and touch()
		if type(touched) == 'table' then return touched end
		return answer(string.match(before, '^(%d+) (%S*) ([%d,]*)$'))
	end
end

local late = is_late()

-- One command reads which keys are present, and one the counters.
local subjects, counters, asked, n_asked, at = {}, {}, {}, 0, 8
local function arg()
	at = at + 1
	return ARGV[at]
end
local function ask(key)
	n_asked = n_asked + 1
	asked[n_asked] = key
end
while at < #ARGV do
	local s = {counter = arg(), max = tonumber(arg()), expires = arg(), checks = {}}
	subjects[#subjects + 1] = s
	counters[#subjects] = s.counter
	ask(s.counter)
	for i = 1, tonumber(arg()) do
		s.checks[i] = {key = arg(), present = arg() == '1'}
		ask(s.checks[i].key)
	end
	local uses = tonumber(arg())
	s.first, s.last = at + 1, at + 2 * uses - 1
	for marker = s.first, s.last, 2 do ask(ARGV[marker]) end
	at = at + 2 * uses
end
local there = redis.call('ZMSCORE', names, unpack(asked))
local stored = redis.call('HMGET', values, unpack(counters))

local current = {} -- the value of each counter so far
local written = {} -- markers with their values, and counters
local outcomes, counts = {}, {}
local new, set, expire, last = {}, {}, {}, {} -- the arguments of the commands that write
local n_outcomes, n_new, n_set, n_expire, n_old, n_there = 0, 0, 0, 0, 0, 0
local replayed = false
for i, s in ipairs(subjects) do
	local counter, max, expires = s.counter, s.max, s.expires
	n_there = n_there + 1
	local before = stored[i]
	if not before and there[n_there] then before = '' end -- the empty value
	local n = current[counter]
	if not n then
		local held = written[counter] or before
		if not held then n = 0
		elseif #held == 8 then n = struct.unpack('>I8', held) end
	end
	local refused = late and 'd' or lost and max ~= 0 and 'l' or not n and 't'
	for j = #s.checks, 1, -1 do
		local found = there[n_there + j] or written[s.checks[j].key]
		if (found and true or false) ~= s.checks[j].present then refused = tostring(j - 1) end
	end
	n_there = n_there + #s.checks
	counts[i] = number(n or 0)
	local had = n_new
	for at = s.first, s.last, 2 do
		local marker, outcome = ARGV[at], refused
		n_there = n_there + 1
		if not outcome then
			if there[n_there] or written[marker] then
				outcome, replayed = '=', true
			elseif max ~= 0 and n >= max then
				outcome = 'b'
			else
				local content = ARGV[at + 1]
				outcome, n = '+', n + 1
				written[marker] = content
				new[n_new + 1] = '0'
				new[n_new + 2] = marker
				n_new = n_new + 2
				if content ~= '' then
					set[n_set + 1] = marker
					set[n_set + 2] = content
					n_set = n_set + 2
				end
				if expires ~= '' then
					expire[n_expire + 1] = expires
					expire[n_expire + 2] = marker
					n_expire = n_expire + 2
				end
				-- As note does; a new marker was not noted before.
				old[n_old + 1] = marker
				old[n_old + 2] = '-'
				n_old = n_old + 2
				old_size = old_size + #marker + 1
			end
		end
		n_outcomes = n_outcomes + 1
		outcomes[n_outcomes] = outcome
	end
	if n_new > had then
		current[counter], written[counter] = n, ''
		last[counter] = expires
		if not before then
			new[n_new + 1] = '0'
			new[n_new + 2] = counter
			n_new = n_new + 2
		end
		set[n_set + 1] = counter
		set[n_set + 2] = struct.pack('>I8', n)
		n_set = n_set + 2
		note(counter, before)
		n_old = #old
	end
end

counts = table.concat(counts, ',')

-- full returns the outcomes when the server has no memory: uses that need a write, also
-- only for acknowledgement, get 'm'.
local function full(refusal)
	if not string.find(refusal.err, 'OOM', 1, true) then return refusal end
	for i, outcome in ipairs(outcomes) do
		if outcome == '+' or outcome == '=' and acknowledged then outcomes[i] = 'm' end
	end
	return answer(position, table.concat(outcomes), counts, refusal.err)
end

if n_new == 0 then
	local touched = replayed and acknowledged and touch()
	if type(touched) == 'table' then return full(touched) end
	return answer(position, table.concat(outcomes), counts)
end

-- Refused when there is no memory; the writes after it are not.
local added = redis.pcall('ZADD', names, unpack(new))
if type(added) == 'table' then return full(added) end
redis.call('HSET', values, unpack(set))
for counter, expires in pairs(last) do
	if expires ~= '' then
		expire[n_expire + 1] = expires
		expire[n_expire + 2] = counter
		n_expire = n_expire + 2
	end
end
if n_expire > 0 then redis.call('ZADD', expiries, unpack(expire)) end
for counter, expires in pairs(last) do
	if expires == '' then redis.call('ZREM', expiries, counter) end
end
outcomes = table.concat(outcomes)
record(id, position .. ' ' .. outcomes .. ' ' .. counts)
return answer(position, outcomes, counts)
