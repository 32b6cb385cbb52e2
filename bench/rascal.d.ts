/** The slice of Rascal that the benchmark uses; the package ships no types. */
declare module 'rascal' {
  export interface Subscription {
    on(event: 'message', listener: (message: unknown, content: unknown, ack: () => void) => void): void
  }
  export interface Publication {
    on(event: 'success', listener: () => void): void
    on(event: 'error', listener: (error: unknown) => void): void
  }
  export interface Broker {
    subscribe(name: string): Promise<Subscription>
    publish(name: string, content: unknown, overrides: object): Promise<Publication>
    shutdown(): Promise<void>
  }
  const rascal: { readonly BrokerAsPromised: { create(config: object): Promise<Broker> } }
  export default rascal
}
