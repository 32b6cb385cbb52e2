/** What an instance knows about the lanes of a group. */
export interface LaneView {
  /** Lanes of the group, at least 1. */
  readonly lanes: number
  /** Lanes that this instance owns, in the order in which it came to own them. */
  readonly owned: readonly number[]
  /** Lanes that nobody owns. */
  readonly free: readonly number[]
  /** Instances of the group that are alive, this one included; less than 1 counts as 1. */
  readonly members: number
}

/** What an instance should do about its lanes now. */
export interface LaneMoves {
  readonly acquire: readonly number[]
  /** At most one lane, so that a group moves gently while members come and go. */
  readonly release: readonly number[]
}

/**
 * Which lanes an instance takes or gives up now. Its fair share is `lanes / members`, rounded up, so that all lanes have an
 * owner while every member takes its share; with more members than lanes some have none.
 *
 * It gives up the lane that came last, whose hold list has had the least time to be loaded. It never takes and gives up at
 * the same time. Free lanes are taken in the order given: callers start at different times (jitter) and give the free lanes
 * in an order of their own, so that members that start together do not all fight for the same lane.
 */
export function laneMoves({ lanes, owned, free, members }: LaneView): LaneMoves {
  const share = Math.ceil(lanes / Math.max(1, members))
  if (owned.length > share) return { acquire: [], release: owned.slice(-1) }
  const wanted = free.filter((lane) => lane >= 0 && lane < lanes && !owned.includes(lane))
  return { acquire: wanted.slice(0, share - owned.length), release: [] }
}
