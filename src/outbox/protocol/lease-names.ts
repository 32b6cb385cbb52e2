/**
 * Name of the lease under which the rows of a shard are published. Backends compare its epoch with the one that `settle` is given.
 *
 * The lease that fences a checkpoint has no prefix: it is named as the checkpoint.
 */
export function shardLease(shard: number): string {
  return `outbox/${shard}`
}
