-- Returns a form of entry ID `id` that sorts as text. Each part has up to 64 bits, more than a Lua number holds.
local function padded(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ('0'):rep(20 - #ms) .. ms .. ('0'):rep(20 - #seq) .. seq
end

-- Returns whether entry ID `a` comes before `b`.
local function before(a, b) return padded(a) < padded(b) end

