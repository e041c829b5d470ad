import AppModels
import SwiftUI

@main
struct ChatApp: App {
    @State private var chat = ChatViewModel(settings: .saved())

    var body: some Scene {
        WindowGroup {
            NavigationStack {
                ChatView(chat: chat)
            }
        }
    }
}
