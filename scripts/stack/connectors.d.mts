export interface Connector {
  name: string
  config: Record<string, string>
}
export function connectorOf(file: string, variables?: Record<string, string>, overrides?: Partial<Connector>): Connector
export function putConnector(connector: Connector, seconds?: number): Promise<void>
export function deleteConnector(name: string): Promise<unknown>
export function connectorStatus(name: string): Promise<unknown>
export function restartConnector(name: string): Promise<unknown>
