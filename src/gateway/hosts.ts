const LOOPBACK_NAMES: readonly string[] = ['localhost', '127.0.0.1', '[::1]']

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/** True where a Host header names one of the hosts, whatever its port; without hosts, a name of the loopback address. */
export function isOwnHost(header: string, hosts: readonly string[] | undefined): boolean {
  const name = nameOf(header)
  if (name === undefined) return false
  if (hosts === undefined) return LOOPBACK_NAMES.includes(name) || isLoopback(name)
  return hosts.some((host) => host.toLowerCase() === name)
}

function nameOf(header: string): string | undefined {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[^:/?#@\s]+)(?::\d{1,5})?$/.exec(header)
  return match?.[1]?.toLowerCase()
}
