-- Applies one batch atomically. All reasons to refuse the batch are checked before the
-- first write, and the first write of a batch that needs memory is one that the server
-- refuses when it has none.
--
-- Returns {'ok', position, counts, replayed, generation, revision, id}, {'check'|'bound'|'type', index}
-- or {'lost', 0} for a bounded counter of a partition that lost writes, or {'late', 0}.
local at = 8
local function arg()
	at = at + 1
	return ARGV[at]
end

local id, again, acknowledged = ARGV[1], ARGV[2] == '1', ARGV[3] == '1'
local closes, with_event, event = arg() == '1', arg() == '1', arg()

-- answer decodes a result from the undo log.
local function answer(result)
	local position, counts, replayed = string.match(result, '^(%d+) ([%d,]*) ([01]*)$')
	return {'ok', position, counts, replayed, number(generation), number(revision), recorded and id or ''}
end

-- unchanged returns the result of a batch without changes.
local function unchanged(result)
	local touched = acknowledged and touch()
	if type(touched) == 'table' then return touched end
	return answer(result)
end

compare()
if again then
	local before = earlier(id)
	if before then return unchanged(before) end
end

if is_late() then return {'late', 0} end
for i = 1, tonumber(arg()) do
	local key, kind, want = arg(), arg(), arg()
	local found = value(key)
	local holds
	if kind == 'present' then holds = found
	elseif kind == 'absent' then holds = not found
	else holds = found == want end
	if not holds then return {'check', i - 1} end
end

local counters, current, marked = {}, {}, {}
local all_replayed = true
local n_counters = tonumber(arg())
for i = 1, n_counters do
	local c = {key = arg(), max = tonumber(arg()), once = arg(), once_value = arg(), expires = arg(), undo = arg() == '1'}
	if lost and c.max ~= 0 then return {'lost', 0} end
	local n = current[c.key]
	if not n then
		local stored = value(c.key)
		if not stored then n = 0
		elseif #stored ~= 8 then return {'type', i - 1}
		else n = struct.unpack('>I8', stored) end
	end
	if c.undo then
		c.replayed = n == 0 or value(c.once) ~= c.once_value
	elseif c.once ~= '' then
		c.replayed = marked[c.once] or value(c.once) ~= false
		marked[c.once] = true
	end
	if not c.replayed then
		all_replayed = false
		if c.undo then n = n - 1
		elseif c.max ~= 0 and n >= c.max then return {'bound', i - 1}
		else n = n + 1 end
	end
	current[c.key] = n
	counters[i] = c
end

local counts, replays = {}, {}
for i, c in ipairs(counters) do
	counts[i] = number(current[c.key])
	replays[i] = c.replayed and '1' or '0'
end
local function result() return position .. ' ' .. table.concat(counts, ',') .. ' ' .. table.concat(replays) end

local n_deletes = tonumber(arg())
local deletes_at = at
at = at + n_deletes
local n_puts = tonumber(arg())
if n_counters > 0 and all_replayed then return unchanged(result()) end
if n_counters + n_deletes + n_puts == 0 and not with_event then return unchanged(result()) end

if n_puts + n_counters > 0 or n_deletes == 0 then
	-- Refused when there is no memory; the writes after it are not.
	local refused = redis.pcall('HSET', meta, 'id', id)
	if type(refused) == 'table' then
		if not closes or not string.find(refused.err, 'OOM', 1, true) then return refused end
		make_room()
	end
end
for _, c in ipairs(counters) do
	if not c.replayed then
		put(c.key, struct.pack('>I8', current[c.key]), c.expires)
		if c.undo then remove(c.once)
		elseif c.once ~= '' then put(c.once, c.once_value, c.expires) end
	end
end
for i = 1, n_deletes do remove(ARGV[deletes_at + i]) end
for _ = 1, n_puts do put(arg(), arg(), arg()) end
if with_event then
	position = number(redis.call('HINCRBY', meta, 'pos', 1))
	redis.call('HSET', meta, 'tok', id)
	redis.call('XADD', feed, 'MAXLEN', '~', 4096, position .. '-0', 'n', id, 'e', event)
end
record(id, result())
return answer(result())
